"""Anchor coverage: how well the anchors of a detector fit the boxes of a data set."""

from __future__ import annotations

import numpy as np

from spinenet_tf.ops.anchors import AnchorSpec
from spinenet_tf.ops.levels import level_size


def best_overlap(boxes: np.ndarray, height: int, width: int, spec: AnchorSpec) -> np.ndarray:
    """Return the largest IoU of each of `boxes [N, 4]` with any anchor of an input of `height` x `width` pixels.

    Boxes are yxyx pixels of the input, with positive sides. Of all anchors of one shape, the one with the nearest
    center overlaps most, so only that one is compared. Returns `[N]` float64.
    """
    boxes = np.asarray(boxes, np.float64)
    best = np.zeros(len(boxes))
    for level in range(spec.min_level, spec.max_level + 1):
        sides = spec.sides(level).astype(np.float64)  # [A, 2]
        rows = _nearest(boxes[:, 0], boxes[:, 2], height, level)
        centers = np.stack([rows, _nearest(boxes[:, 1], boxes[:, 3], width, level)], axis=-1)
        low = np.maximum(boxes[:, None, :2], centers[:, None] - sides / 2)
        high = np.minimum(boxes[:, None, 2:], centers[:, None] + sides / 2)
        shared = np.prod(np.maximum(high - low, 0), axis=-1)  # [N, A]
        areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=-1)[:, None] + np.prod(sides, axis=-1) - shared
        best = np.maximum(best, (shared / areas).max(axis=-1))
    return best


def _nearest(start: np.ndarray, end: np.ndarray, side: int, level: int) -> np.ndarray:
    """Return the anchor center nearest to the middle of `start`..`end` along one axis."""
    stride = 2.0**level
    cell = np.clip(np.floor((start + end) / 2 / stride), 0, level_size(side, level) - 1)
    return (cell + 0.5) * stride
