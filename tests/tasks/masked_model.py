"""A stand-in for a trained model with masks, which knows the objects of a data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from spinenet_tf.data.dataset import DetectionDataset, Example

SLOTS = 8  # detections per image


def predictor_of(dataset: DetectionDataset, image_size: tuple[int, int]) -> Callable[[np.ndarray], Mapping[str, Any]]:
    """Return `predict`, called with the images of the data set in their order, which detects all objects exactly."""
    remaining = iter([])

    def predict(images: np.ndarray) -> Mapping[str, Any]:
        nonlocal remaining
        rows = []
        for _ in images:
            example = next(remaining, None)
            if example is None:
                remaining = iter(dataset)
                example = next(remaining)
            rows.append(_found(example, image_size))
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}

    return predict


def _found(example: Example, image_size: tuple[int, int]) -> dict[str, np.ndarray]:
    count = len(example.boxes)
    scale = np.float32(min(side / own for side, own in zip(image_size, (example.height, example.width), strict=True)))
    masks = [mask.crop(box, 28) for mask, box in zip(example.masks or (), example.boxes, strict=True)]
    empty = SLOTS - count
    return {
        "boxes": np.pad(example.boxes * scale, ((0, empty), (0, 0))),
        "scores": np.pad(np.full(count, 0.9, np.float32), (0, empty)),
        "classes": np.pad(example.classes, (0, empty), constant_values=-1),
        "num_detections": np.array(count),
        "masks": np.pad(np.reshape(masks, (count, 28, 28)), ((0, empty), (0, 0), (0, 0))).astype(np.float32),
    }
