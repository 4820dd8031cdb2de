"""Compute bounding boxes of COCO segmentations: polygons, and run-length encoded masks (RLE)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

_LONGEST_NUMBER = 13  # characters with 5 bits each, for 64 bits


def box_of(segmentation: Any, size: tuple[int, int]) -> list[float] | None:
    """Return the box `[left, top, width, height]` in pixels of a segmentation in an image of `size` (height, width).

    Returns None for anything but polygons of finite numbers or a mask of the image's size. An empty mask has an empty
    box.
    """
    if isinstance(segmentation, dict):
        return _box_of_mask(segmentation, size)
    polygons = segmentation if isinstance(segmentation, list) else []
    if polygons and not any(isinstance(polygon, list) for polygon in polygons):
        polygons = [polygons]
    if not polygons or not all(_is_polygon(polygon) for polygon in polygons):
        return None
    xs, ys = (np.concatenate([np.array(polygon[axis::2], np.float64) for polygon in polygons]) for axis in (0, 1))
    with np.errstate(over="ignore"):  # infinite boxes are rejected later
        return [float(value) for value in (xs.min(), ys.min(), np.ptp(xs), np.ptp(ys))]


def _is_polygon(points: Any) -> bool:
    if not isinstance(points, list) or len(points) < 6 or len(points) % 2:
        return False
    try:
        return all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in points)
    except OverflowError:  # an integer too large for a float
        return False


def _box_of_mask(mask: dict, size: tuple[int, int]) -> list[float] | None:
    """Return the box of a run-length encoded mask: column-major runs that alternate between background and object."""
    counts, height = mask.get("counts"), size[0]
    counts = _decompressed(counts) if isinstance(counts, str) else counts
    if not isinstance(counts, list) or not all(type(count) is int and 0 <= count < 2**63 for count in counts):
        return None
    if mask.get("size") != [*size] or sum(counts) != math.prod(size):
        return None
    ends = np.cumsum(np.array(counts, np.int64))
    first, last = (ends - np.array(counts, np.int64))[1::2], ends[1::2] - 1
    first, last = first[first <= last], last[first <= last]
    if not len(first):
        return [0.0, 0.0, 0.0, 0.0]
    left, right = (first // height).min(), (last // height).max() + 1
    top, bottom = (first % height).min(), (last % height).max() + 1
    if (first // height < last // height).any():  # a run continues in the next column
        top, bottom = 0, height
    return [float(value) for value in (left, top, right - left, bottom - top)]


def _decompressed(text: str) -> list[int] | None:
    """Decode COCO's compressed RLE: 5 bits per character, and counts as differences from the one two places before.

    Returns None if the text is invalid.
    """
    counts: list[int] = []
    value = length = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or length == _LONGEST_NUMBER:
            return None
        value |= (code & 31) << 5 * length
        length += 1
        if code & 32:
            continue
        if code & 16:
            value -= 1 << 5 * length
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = length = 0
    return None if length else counts
