"""Nearest-neighbor resampling: which pixels are picked, and the operations that pick them on each engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from keras import ops

# From indices of target pixels, and a side of the source and of the target, to indices of source pixels.
Rule = Callable[[Any, Any, Any], Any]

MAX_INPUTS = 4  # of a concatenation: XNNPACK refuses more than 5


def nearest(index, source, target):
    """Return the source pixels with the nearest centers, by integer arithmetic."""
    return ((2 * index + 1) * source) // (2 * target)


def scaled(index, source, target):
    """Return floor(index * source / target), as TF1's resize does."""
    return index * source // target


def resize_is_exact(source: int, target: int) -> bool:
    """Return whether the resize op with half-pixel centers picks the pixels of `nearest` on all engines.

    Its kernels in LiteRT, for CPUs and for GPUs, compute floor((index + 0.5) * (source / target)) in float32.
    """
    index = np.arange(target)
    centers = (index.astype("float32") + np.float32(0.5)) * (np.float32(source) / np.float32(target))
    return np.array_equal(np.minimum(np.floor(centers), source - 1), nearest(index, source, target))


def pick(x, size: Sequence[Any], rule: Rule, upsampling: str = "gather", training: bool | None = None):
    """Resample `x [B, h, w, C]` to `size`: the pixel i of a side is the pixel `rule(i, source, target)` of `x`.

    `upsampling` names the operations; all return the same pixels. "gather" gathers them, except at integer ratios,
    which are one resize op in inference and repetitions in training, whose gradient XLA can compile. "resize" is one
    resize op at all sizes: it is only for sizes of which `resize_is_exact` is true. "concat" is concatenations,
    depth-to-space and slices. The last two need static sizes.
    """
    source, size = list(ops.shape(x)[1:3]), list(size)
    if all(isinstance(side, int) for side in (*source, *size)):
        if source == size:
            return x
        is_whole = all(target % side == 0 for side, target in zip(source, size, strict=True))
        if is_whole and training:
            return _repeat(x, *(target // side for side, target in zip(source, size, strict=True)))
        if upsampling == "concat":
            return _double_and_drop(x, size, rule)
        if is_whole or upsampling == "resize":
            return ops.image.resize(x, size, interpolation="nearest", data_format="channels_last")
    for axis, (side, target) in enumerate(zip(source, size, strict=True), start=1):
        x = ops.take(x, rule(ops.arange(target, dtype="int32"), side, target), axis=axis)
    return x


def _repeat(x, rows: int, columns: int):
    batch, height, width, channels = ops.shape(x)
    x = ops.broadcast_to(x[:, :, None, :, None], (batch, height, rows, width, columns, channels))
    return ops.reshape(x, (batch, height * rows, width * columns, channels))


def _double_and_drop(x, size: Sequence[int], rule: Rule):
    """Repeat each pixel 2 x 2 times until `x` has at least this size, then drop rows and columns.

    A rule commutes with doubling: floor(floor(2a) / 2) = floor(a). So the rows that it picks from the doubled map are
    copies of those that it picks from `x`, and no row of the doubled map is picked twice.
    """
    ratios = [-(-target // side) for side, target in zip(ops.shape(x)[1:3], size, strict=True)]
    for _ in range((max(ratios) - 1).bit_length()):
        x = ops.depth_to_space(ops.concatenate([x] * 4, axis=-1), 2, data_format="channels_last")
    for axis, target in enumerate(size, start=1):
        x = _keep(x, axis, rule(np.arange(target), x.shape[axis], target))
    return x


def _keep(x, axis: int, picked: np.ndarray):
    """Keep the rows or columns with these ascending indices: slices of consecutive ones, concatenated."""
    if len(picked) == x.shape[axis]:
        return x
    runs = np.split(picked, np.flatnonzero(np.diff(picked) > 1) + 1)
    parts = [_slice(x, axis, int(run[0]), len(run)) for run in runs]
    while len(parts) > 1:
        groups = [parts[first : first + MAX_INPUTS] for first in range(0, len(parts), MAX_INPUTS)]
        parts = [ops.concatenate(group, axis=axis) if len(group) > 1 else group[0] for group in groups]
    return parts[0]


def _slice(x, axis: int, first: int, length: int):
    starts, shape = [0] * 4, list(ops.shape(x))
    starts[axis], shape[axis] = first, length
    return ops.slice(x, starts, shape)
