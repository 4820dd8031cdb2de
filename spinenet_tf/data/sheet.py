"""Draw annotated images of a data set on one sheet."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from spinenet_tf.data.dataset import ClassificationExample, DataError, Example
from spinenet_tf.data.formats.annotations import to_dataset
from spinenet_tf.data.formats.image_folder import read_image_folder
from spinenet_tf.data.images import read_image
from spinenet_tf.data.reading import format_of, load
from spinenet_tf.drawing.boxes import contact_sheet, draw_detections
from spinenet_tf.drawing.fonts import labels_with_crowds


def draw_sheet(
    source: str, images: Path | None = None, split: str | None = None, count: int = 12, columns: int = 4, seed: int = 0
) -> np.ndarray:
    """Draw `count` random images of a data set with their boxes on one `[H, W, 3]` uint8 sheet.

    `seed` selects the images, which are shown in the data set's order. Crowds are labeled as such. Images of class
    folders have one box around the whole image.

    Raises:
        DataError: as `reading.load` does, or there are no images.
    """
    is_folder = format_of(source) == "image_folder"
    dataset = read_image_folder(source) if is_folder else to_dataset(load(source, images, split))
    if not len(dataset):
        raise DataError(f"{source}: the data set has no images")
    chosen = np.random.default_rng(seed).permutation(len(dataset))[:count]
    names = labels_with_crowds(dataset.class_names)
    return contact_sheet((_picture(dataset.examples[index], names) for index in sorted(chosen)), columns)


def _picture(example: Example | ClassificationExample, names: list[str]) -> np.ndarray:
    """Draw one example; the second half of `names` are the labels of crowds."""
    image = read_image(example.path)
    if isinstance(example, ClassificationExample):
        boxes, classes = np.array([[0, 0, *image.shape[:2]]]), np.array([example.label])
    else:
        boxes, classes = example.boxes, example.classes + example.crowd * (len(names) // 2)
    return draw_detections(image, boxes, classes, class_names=names)
