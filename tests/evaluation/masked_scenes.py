"""Generate random masks for the objects and detections of random scenes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from random_scenes import random_detections

from spinenet_tf.data.dataset import DetectionDataset, Example
from spinenet_tf.data.masks import PolygonMask, RunLengthMask
from spinenet_tf.evaluation.pasting import paste_mask

CORNERS = np.linspace(0, 2 * np.pi, 9)[:-1]


def blob(rng: np.random.Generator, box: np.ndarray) -> np.ndarray:
    """Return a probability map of a random blob that fills most of its box."""
    grid = (np.indices((28, 28)) + 0.5) / 14 - 1
    angle, distance = np.arctan2(*grid), np.hypot(*grid)
    return np.clip(1.35 + 0.1 * np.sin(3 * angle + rng.uniform(0, 6)) - distance, 0, 1).astype(np.float32)


def with_masks(rng: np.random.Generator, dataset: DetectionDataset) -> DetectionDataset:
    """Give each object the mask of an octagon in its box, as a polygon or as run lengths; its area is the mask's."""
    return replace(dataset, examples=tuple(_with_masks(rng, example) for example in dataset))


def _with_masks(rng: np.random.Generator, example: Example) -> Example:
    masks: list[Any] = []
    for top, left, bottom, right in example.boxes:
        radii = rng.uniform(0.7, 1, 8)
        xs = (left + right) / 2 + np.cos(CORNERS) * radii * (right - left) / 2
        ys = (top + bottom) / 2 + np.sin(CORNERS) * radii * (bottom - top) / 2
        polygon = PolygonMask(example.height, example.width, (np.stack([xs, ys], axis=1).ravel().astype(float),))
        masks.append(polygon if rng.random() < 0.5 else RunLengthMask.of(polygon.decode()))
    area = np.array([mask.area for mask in masks], np.float32)
    return replace(example, masks=tuple(masks), area=area)


def masked_detections(rng: np.random.Generator, dataset: DetectionDataset) -> list[dict]:
    size = (dataset[0].height, dataset[0].width)
    items = random_detections(rng, dataset)
    return [item | {"masks": [paste_mask(blob(rng, box), box, *size) for box in item["boxes"]]} for item in items]
