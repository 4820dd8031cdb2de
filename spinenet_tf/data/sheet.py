"""Draw the images of a data set with their objects, one by one or on one sheet."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from spinenet_tf.data.dataset import ClassificationExample, DataError
from spinenet_tf.data.images import read_image
from spinenet_tf.drawing.boxes import contact_sheet, draw_detections
from spinenet_tf.drawing.fonts import labels_with_crowds


def draw_example(dataset: Any, index: int) -> Image.Image:
    """Draw one image of a data set of any task; see `draw_sheet`.

    Raises:
        DataError: the image cannot be decoded.
    """
    return Image.fromarray(_picture(dataset, index))


def draw_sheet(dataset: Any, count: int, columns: int, seed: int) -> Image.Image:
    """Draw `count` random images of a data set with their boxes and masks on one sheet.

    `seed` selects the images, which are shown in the data set's order. Crowds are labeled as such. Images of a
    classification data set have one box around the whole image.

    Raises:
        DataError: there are no images, or one cannot be decoded.
        ValueError: `count` or `columns` is less than 1.
    """
    if not len(dataset):
        raise DataError(f"{dataset.name}: the data set has no images")
    if count < 1:
        raise ValueError(f"`count` must be at least 1. Received: {count=}")
    chosen = np.random.default_rng(seed).permutation(len(dataset))[:count]
    return Image.fromarray(contact_sheet((_picture(dataset, index) for index in sorted(chosen)), columns))


def _picture(dataset: Any, index: int) -> np.ndarray:
    example, names = dataset[index], labels_with_crowds(dataset.class_names)
    image = read_image(example.path, dataset.max_pixels)
    if isinstance(example, ClassificationExample):
        boxes, classes, masks = np.array([[0, 0, *image.shape[:2]]]), np.array([example.label]), None
    else:  # the second half of `names` are the labels of crowds
        boxes, classes = example.boxes, example.classes + example.crowd * len(dataset.class_names)
        masks = example.masks
    return draw_detections(image, boxes, classes, class_names=names, masks=masks)
