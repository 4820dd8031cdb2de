"""Runs any detector over a data set: what it finds, in pixels of the files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

import numpy as np

from spinenet_tf.data.dataset import DetectionDataset


class Predictor(Protocol):
    """What a Keras detector and a TFLite file have in common."""

    def predict_on_batch(self, images: np.ndarray) -> Mapping[str, np.ndarray]:
        """Detect in normalised images `[B, H, W, 3]`: boxes in pixels of the input, scores, classes, num_detections."""


def detect_in_dataset(
    predictor: Predictor, dataset: DetectionDataset, image_size: tuple[int, int], batch_size: int = 8
) -> Iterator[dict]:
    """Yield `{"image_id", "boxes" [M, 4], "scores" [M], "classes" [M]}` for each image, boxes yxyx in pixels of the file."""
    from spinenet_tf.data.pipeline import evaluation_batches

    for images, targets in evaluation_batches(dataset, image_size, batch_size).as_numpy_iterator():
        found = predictor.predict_on_batch(images)
        for row, (image_id, scale) in enumerate(zip(targets["image_id"], targets["scale"], strict=True)):
            yield {"image_id": int(image_id), **to_file_pixels(found, row, float(scale), targets["size"][row])}


def to_file_pixels(found: Mapping[str, np.ndarray], row: int, scale: float, size) -> dict[str, np.ndarray]:
    """Take one image's detections out of a batch, with boxes in pixels of the file and clipped to its `size` (height, width)."""
    count = int(found["num_detections"][row])
    height, width = (float(side) for side in size)
    boxes = np.asarray(found["boxes"][row][:count]) / scale
    boxes = np.clip(boxes, 0.0, [height, width, height, width]).astype(np.float32)
    return {"boxes": boxes, "scores": found["scores"][row][:count], "classes": found["classes"][row][:count]}
