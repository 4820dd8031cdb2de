"""ROI align: crops of one size from a feature pyramid, one for each box (He 2017, arXiv 1703.06870, section 3)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from keras import ops

from spinenet_tf.ops.boxes import Tensor, pick

# A box of this side reads this level (Lin 2017, arXiv 1612.03144, equation 1).
CANONICAL_SIDE, CANONICAL_LEVEL = 224.0, 4


def multilevel_roi_align(
    features: Mapping[str, Tensor], boxes: Tensor, output_size: int, sample_offset: float = 0.5
) -> Tensor:
    """Crop `features` {"P3": `[B, h, w, C]`, ...} of consecutive levels to `boxes [B, N, 4]` (yxyx pixels).

    A box reads one level, which follows from its area: one of 224 x 224 px reads P4, one of twice the side P5. A box
    without area reads the finest level. Each of the `output_size` x `output_size` bins takes one bilinear sample at
    `sample_offset` of its sides; a feature's coordinate is its pixel divided by the stride. All of this is as in Model
    Garden, also that a level ends where the finest level's side divided by a power of two ends: if a side of the image
    is no multiple of the largest stride, this is before the last row or column. The sizes of features are static.

    Returns:
        `[B, N, output_size, output_size, C]` in the type of the features.
    """
    levels = sorted(int(name.removeprefix("P")) for name in features)
    maps = [features[f"P{level}"] for level in levels]
    boxes = ops.cast(boxes, "float32")
    level = _level_of(boxes, levels) - levels[0]  # [B, N], counted from the finest
    boxes = boxes / ops.take(2.0 ** np.array(levels, "float32"), level)[..., None]
    heights, widths = ([x.shape[axis] for x in maps] for axis in (1, 2))
    rows = _samples(boxes[..., 0], boxes[..., 2], heights, level, output_size, sample_offset)
    columns = _samples(boxes[..., 1], boxes[..., 3], widths, level, output_size, sample_offset)
    return _interpolate(maps, level, rows, columns)


def _level_of(boxes: Tensor, levels: list[int]) -> Tensor:
    """Return the level that each of `boxes [B, N, 4]` reads, `[B, N]` int32."""
    area = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
    side = ops.sqrt(ops.where(area > 0, area, 1.0))
    level = ops.floor(ops.log(side / CANONICAL_SIDE) / math.log(2.0)) + CANONICAL_LEVEL
    level = ops.where(area > 0, level, levels[0])  # also where the area is NaN
    return ops.cast(ops.clip(level, levels[0], levels[-1]), "int32")


class _Samples(NamedTuple):
    """Hold where the samples of each box lie along one axis: between two rows, or columns, of its level."""

    first: Tensor  # [B, N, K] int32
    second: Tensor  # [B, N, K] int32, the next one, or the same at the end of the level
    share: Tensor  # [B, N, K] float32, how much of the second; the rest is of the first; above 1 beyond the end


def _samples(start: Tensor, end: Tensor, sizes: list[int], level: Tensor, count: int, offset: float) -> _Samples:
    """Return the samples of boxes from `start [B, N]` to `end [B, N]`, in cells of their `level [B, N]`."""
    bins = ops.arange(count, dtype="float32") + offset
    position = start[..., None] + bins * (end - start)[..., None] / count
    limit = ops.take(sizes[0] / 2.0 ** np.arange(len(sizes), dtype="float32") - 1.0, level)[..., None]
    first = ops.minimum(ops.maximum(ops.floor(position), 0.0), limit)
    second = ops.minimum(first + 1.0, limit)
    # Boxes that are NaN, as those of a training that diverges, must not read outside of the level.
    last = ops.take(np.array(sizes, "int32") - 1, level)[..., None]
    cells = [ops.clip(ops.cast(cell, "int32"), 0, last) for cell in (first, second)]
    return _Samples(cells[0], cells[1], position - first)


def _interpolate(maps: list[Tensor], level: Tensor, rows: _Samples, columns: _Samples) -> Tensor:
    """Return the bilinear samples `[B, N, K, K, C]` of each box in the map of its `level [B, N]`."""
    batch, boxes, count = ops.shape(rows.first)
    channels, sizes = maps[0].shape[-1], [x.shape[1] * x.shape[2] for x in maps]
    cells = ops.concatenate([ops.reshape(x, (-1, n, channels)) for x, n in zip(maps, sizes, strict=True)], axis=1)
    start = ops.take(np.cumsum([0, *sizes[:-1]], dtype="int32"), level)[..., None]  # where the level starts in `cells`
    width = ops.take(np.array([x.shape[2] for x in maps], "int32"), level)[..., None]
    samples = 0.0
    # Four gathers of single cells: what they return has rank 3, which TFLite supports on all devices.
    for row, row_share in ((rows.first, 1.0 - rows.share), (rows.second, rows.share)):
        for column, column_share in ((columns.first, 1.0 - columns.share), (columns.second, columns.share)):
            index = (start + row * width)[..., None] + column[..., None, :]  # [B, N, K, K]
            share = ops.cast(row_share[..., None] * column_share[..., None, :], cells.dtype)
            flat = (batch, boxes * count * count)
            samples += pick(cells, ops.reshape(index, flat)) * ops.reshape(share, flat)[..., None]
    return ops.reshape(samples, (batch, boxes, count, count, channels))
