"""Boxes as tensors: IoU, clipping, and encoding relative to anchors. Every box is yxyx in pixels."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

Tensor = Any  # whatever the backend computes with
Weights = tuple[float, float, float, float]  # of the four numbers (ty, tx, th, tw) of an encoded box

# `decode` limits the growth of a side to this: an anchor of 16 px becomes at most 1000 px (the paper's code).
MAX_LOG_SCALE = math.log(1000 / 16)


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Return the intersection over union of every box in `a [..., N, 4]` with every box in `b [..., M, 4]`.

    Boxes are yxyx in pixels; leading dimensions broadcast. A box without area overlaps nothing.

    Returns:
        `[..., N, M]` float32 in 0..1, never NaN.
    """
    ay1, ax1, ay2, ax2 = (side[..., :, None] for side in _sides(a))
    by1, bx1, by2, bx2 = (side[..., None, :] for side in _sides(b))
    height = ops.relu(ops.minimum(ay2, by2) - ops.maximum(ay1, by1))
    width = ops.relu(ops.minimum(ax2, bx2) - ops.maximum(ax1, bx1))
    intersection = height * width
    union = _area(ay1, ax1, ay2, ax2) + _area(by1, bx1, by2, bx2) - intersection
    return ops.divide_no_nan(intersection, union)


def clip(boxes: Tensor, height: int | Tensor, width: int | Tensor) -> Tensor:
    """Clip `boxes [..., 4]` (yxyx pixels) to an image of `height` x `width` pixels, both scalars."""
    limit = ops.cast(ops.stack([height, width, height, width]), "float32")
    return ops.minimum(ops.maximum(ops.cast(boxes, "float32"), 0.0), limit)


def encode(boxes: Tensor, anchors: Tensor, weights: Weights | None = None) -> Tensor:
    """Encode `boxes [..., 4]` relative to `anchors [..., 4]`, both yxyx pixels with positive sides.

    Returns:
        `[..., 4]` float32 `(ty, tx, th, tw)`: the shift of the center as a fraction of the anchor's sides, and the log
        ratio of the sides, each multiplied by its weight.
    """
    centers, sides = _centers_and_sides(boxes)
    anchor_centers, anchor_sides = _centers_and_sides(anchors)
    shift = (centers - anchor_centers) / anchor_sides
    deltas = ops.concatenate([shift, ops.log(sides) - ops.log(anchor_sides)], axis=-1)
    return deltas if weights is None else deltas * ops.array(weights, "float32")


def _centers_and_sides(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Return centers and sides, `[..., 2]` each: on TF, stacking four numbers per box is slower than computing them."""
    boxes = ops.cast(boxes, "float32")
    start, end = boxes[..., :2], boxes[..., 2:]
    return 0.5 * (start + end), end - start


def decode(deltas: Tensor, anchors: Tensor, weights: Weights | None = None) -> Tensor:
    """Decode `deltas [..., 4]` relative to `anchors [..., 4]` to boxes `[..., 4]` (float32, yxyx pixels).

    The inverse of `encode`, except that a side is at most `exp(MAX_LOG_SCALE)` = 62.5 times its anchor's.
    """
    ty, tx, th, tw = _sides(deltas)
    if weights is not None:
        ty, tx, th, tw = (delta / weight for delta, weight in zip((ty, tx, th, tw), weights, strict=True))
    anchor_y, anchor_x, anchor_h, anchor_w = _center_and_size(anchors)
    y, x = ty * anchor_h + anchor_y, tx * anchor_w + anchor_x
    half_h = 0.5 * anchor_h * ops.exp(ops.minimum(th, MAX_LOG_SCALE))
    half_w = 0.5 * anchor_w * ops.exp(ops.minimum(tw, MAX_LOG_SCALE))
    return ops.stack([y - half_h, x - half_w, y + half_h, x + half_w], axis=-1)


def pick(x: Tensor, index: Tensor) -> Tensor:
    """Return the rows `index [B, K]` of each image of `x [B, N, D]`: `[B, K, D]`."""
    # On TensorFlow, `ops.take_along_axis` transposes all of `x`, which takes longer than the rest of the decoding.
    (batch, rows, width), wide = ops.shape(x), index_type(x)
    first = ops.cast(ops.arange(batch, dtype="int32"), wide)[:, None] * ops.cast(rows, wide)
    return ops.take(ops.reshape(x, (-1, width)), ops.cast(index, wide) + first, axis=0)


def index_type(x: Tensor) -> str:
    """Return the integer type that can index every element of `x`.

    TensorFlow's kernels count elements in the type of the indices, and the logits of 256 images of 896 px overflow
    int32. XLA, which JAX always uses, widens the type itself.
    """
    if keras.backend.backend() == "jax":  # its unknown sizes are not None and cannot be compared
        return "int32"
    return "int32" if None not in x.shape and math.prod(x.shape) < 2**31 else "int64"


def _sides(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    boxes = ops.cast(boxes, "float32")
    return boxes[..., 0], boxes[..., 1], boxes[..., 2], boxes[..., 3]


def _area(y1: Tensor, x1: Tensor, y2: Tensor, x2: Tensor) -> Tensor:
    return ops.relu(y2 - y1) * ops.relu(x2 - x1)


def _center_and_size(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    y1, x1, y2, x2 = _sides(boxes)
    return 0.5 * (y1 + y2), 0.5 * (x1 + x2), y2 - y1, x2 - x1
