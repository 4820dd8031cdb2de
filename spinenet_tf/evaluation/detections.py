"""Runs any detector over a data set: what it finds, in pixels of the files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from spinenet_tf.data.classes import check_known
from spinenet_tf.data.dataset import DetectionDataset

Predict = Callable[[np.ndarray], Mapping[str, Any]]


def detect_in_dataset(
    predict: Predict, dataset: DetectionDataset, image_size: tuple[int, int], batch_size: int = 8, **options: Any
) -> Iterator[dict[str, Any]]:
    """Yield `{"image_id", "boxes" [M, 4], "scores" [M], "classes" [M]}` for each image, boxes yxyx in file pixels.

    `predict` is what Keras detectors and TFLite files have in common: normalized images `[B, H, W, 3]` to detections.
    `options` are those of `pipeline.evaluation_batches`.
    """
    from spinenet_tf.data.input.pipeline import evaluation_batches

    for images, targets in evaluation_batches(dataset, image_size, batch_size, **options).as_numpy_iterator():
        found = predict(images)
        for row, (image_id, scale) in enumerate(zip(targets["image_id"], targets["scale"], strict=True)):
            yield {"image_id": int(image_id)} | in_file(found, row, scale, targets["size"][row])


def detect_in_image(predict: Predict, image: np.ndarray, image_size: tuple[int, int]) -> dict[str, np.ndarray]:
    """Detect in one RGB image `[h, w, 3]` uint8 of any size: boxes `[M, 4]` yxyx in its pixels, scores, classes.

    Raises:
        ValueError: it is anything else, or has no pixels.
    """
    from spinenet_tf.data.images import preprocess

    image = np.asarray(image)
    if image.dtype != np.uint8 or not image.size:
        raise ValueError(f"An image has uint8 pixels. Received: shape={image.shape}, dtype={image.dtype}")
    pixels, scale = preprocess(image, *image_size)
    return in_file(predict(np.asarray(pixels)[None]), 0, float(scale), image.shape[:2])


def in_classes_of(
    dataset: DetectionDataset, class_names: Sequence[str], found: Iterable[Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Renumber detections of a model with `class_names` as the data set does; -1 for a class that it does not have.

    Raises:
        ValueError: the data set has objects of a class that the model does not know.
    """
    check_known(dataset, class_names)
    known = {name: number for number, name in enumerate(dataset.class_names)}
    numbers = np.array([known.get(name, -1) for name in class_names] + [-1])  # padding, -1, stays -1
    return ({**item, "classes": numbers[item["classes"]]} for item in found)


def in_file(found: Mapping[str, Any], row: int, scale: float, size: Any) -> dict[str, np.ndarray]:
    """Take one image's detections out of a batch: boxes in pixels of the file, clipped to `size` (height, width)."""
    count = int(found["num_detections"][row])
    boxes = np.clip(np.asarray(found["boxes"][row][:count]) / scale, 0.0, np.tile(size, 2))
    return {"boxes": boxes, "scores": found["scores"][row][:count], "classes": found["classes"][row][:count]}
