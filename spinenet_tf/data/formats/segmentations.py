"""Read untrusted COCO segmentations: polygons, and run-length encoded masks (RLE)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from spinenet_tf.data.dataset import DataError
from spinenet_tf.data.masks import Mask, PolygonMask, RunLengthMask
from spinenet_tf.data.run_lengths import decompressed

_MOST_PIXELS = 2**31  # of an image: the run lengths are compressed as 32-bit integers
_MOST_LENGTHS = 256  # limit of the outlines' length, in image heights plus widths: their pixels are all computed

Size = tuple[int, int]


def read_mask(segmentation: Any, size: Size) -> Mask:
    """Return the mask of a segmentation in an image of `size` (height, width).

    Raises:
        DataError: it is neither polygons of finite numbers nor run lengths of an image of this size, or its outline is
            so long or so far from the image that it cannot be the outline of an object in it.
    """
    if isinstance(segmentation, dict):
        return _read_runs(segmentation, size)
    polygons = _read_polygons(segmentation)
    if polygons is None:
        raise DataError("polygons must be lists of at least three points, x and y in pixels")
    _check_extent(polygons, size)
    return PolygonMask(*size, polygons)


def box_of(segmentation: Any, size: Size) -> list[float] | None:
    """Return the box `[left, top, width, height]` in pixels of a segmentation in an image of `size` (height, width).

    Returns None for anything but polygons of finite numbers or a mask of the image's size. An empty mask has an empty
    box.
    """
    if isinstance(segmentation, dict):
        try:
            top, left, bottom, right = _read_runs(segmentation, size).box
        except DataError:
            return None
    elif (polygons := _read_polygons(segmentation)) is not None:
        top, left, bottom, right = PolygonMask(*size, polygons).outline
    else:
        return None
    return [left, top, right - left, bottom - top]


def _read_polygons(segmentation: Any) -> tuple[np.ndarray, ...] | None:
    """Return polygons of finite numbers; None for anything else. A single polygon need not be in a list."""
    polygons = segmentation if isinstance(segmentation, list) else []
    if polygons and not any(isinstance(polygon, list) for polygon in polygons):
        polygons = [polygons]
    read = tuple(points for polygon in polygons if (points := _read_points(polygon)) is not None)
    return read if polygons and len(read) == len(polygons) else None


def _read_points(points: Any) -> np.ndarray | None:
    if not isinstance(points, list) or len(points) < 6 or len(points) % 2:
        return None
    if not {*map(type, points)} <= {int, float}:
        return None
    try:
        numbers = np.array(points, np.float64)
    except OverflowError:  # an integer too large for a float
        return None
    return numbers if np.isfinite(numbers).all() else None


def _check_extent(polygons: tuple[np.ndarray, ...], size: Size) -> None:
    """Refuse outlines that take long to compute: the time and memory of a mask depend on their length in pixels."""
    height, width = size
    points = np.concatenate(polygons).reshape(-1, 2)
    (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    if min(left / width, top / height) < -1 or max(right / width, bottom / height) > 2:
        raise DataError(f"a polygon lies farther outside of the {height} x {width} image than the image is large")
    if len(points) * max(right - left, bottom - top) <= _MOST_LENGTHS * (height + width):
        return  # as nearly always: no line is longer than all of them together are wide
    length = sum(np.abs(np.diff(p.reshape(-1, 2), axis=0, append=p[None, :2])).max(axis=1).sum() for p in polygons)
    if length > _MOST_LENGTHS * (height + width):
        raise DataError(f"the outline of the polygons is too long: {length:.0f} px in an image of {height} x {width}")


def _read_runs(mask: dict, size: Size) -> RunLengthMask:
    height, width = size
    if (stated := mask.get("size")) != [height, width]:
        raise DataError(f"run lengths must be of the {height} x {width} image. Received: size={stated!r:.100}")
    if not (height > 0 and width > 0 and height * width < _MOST_PIXELS):
        raise DataError(f"no mask can be of an image of {height} x {width} pixels")
    counts = mask.get("counts")
    if isinstance(counts, str) and counts.isascii():
        compressed = counts.encode()
        try:
            runs = decompressed(compressed)
        except ValueError:
            raise DataError(f"compressed run lengths are not valid. Received: counts={counts!r:.100}") from None
        _check_runs(int(runs.min(initial=0)), int(runs.sum()), size)
        return RunLengthMask(height, width, compressed)
    if not isinstance(counts, list) or not {*map(type, counts)} <= {int}:
        raise DataError(f"run lengths must be integers or text. Received: counts={counts!r:.100}")
    _check_runs(min(counts, default=0), sum(counts), size)
    return RunLengthMask.of_runs(counts, height, width)


def _check_runs(smallest: int, total: int, size: Size) -> None:
    if smallest < 0 or total != math.prod(size):
        raise DataError(
            f"run lengths must be positive and add up to the pixels of the {size[0]} x {size[1]} image, "
            f"{math.prod(size)}. Received: {total}, the smallest is {smallest}"
        )
