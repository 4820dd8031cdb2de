"""Define masks of objects, which stay encoded in memory and are decoded only inside a window.

All of them can be read as run lengths: column by column, alternating between background and object, as in COCO.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spinenet_tf.data.run_lengths import decompressed

Box = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False, slots=True)
class Mask(ABC):
    """The encoded mask of one object in the upright image of `height` x `width` pixels."""

    height: int
    width: int

    @property
    def is_file(self) -> bool:
        """Whether the mask is stored as an image, which takes long to decode and may be corrupt."""
        return False

    @abstractmethod
    def counts(self) -> bytes:
        """Return the run lengths, compressed as in COCO: see `run_lengths`.

        Raises:
            DataError: the mask is in a file that cannot be read.
        """

    def runs(self) -> np.ndarray:
        """Return the run lengths `[R]` int64, column by column; the first run is background. Raises as `counts`."""
        return decompressed(self.counts())

    def rle(self) -> dict[str, Any]:
        """Return COCO's `segmentation`: compressed run lengths as text, and the image's size. Raises as `counts`."""
        return {"size": [self.height, self.width], "counts": self.counts().decode("ascii")}

    def decode(self) -> np.ndarray:
        """Return the whole mask `[height, width]` bool. Raises as `counts`."""
        return self._columns(0, self.width)

    @property
    def area(self) -> int:
        """The number of the mask's pixels. Raises as `counts`."""
        return int(self.runs()[1::2].sum())

    @property
    def box(self) -> Box:
        """The yxyx box around the mask's pixels; all 0 if it has none. Raises as `counts`."""
        ends = np.cumsum(runs := self.runs())
        first, last = (ends - runs)[1::2], ends[1::2] - 1
        first, last = first[first <= last], last[first <= last]
        if not len(first):
            return 0.0, 0.0, 0.0, 0.0
        columns = first // self.height, last // self.height
        if (columns[0] < columns[1]).any():  # a run continues in the next column
            top, bottom = 0, self.height
        else:
            top, bottom = (first % self.height).min(), (last % self.height).max() + 1
        return float(top), float(columns[0].min()), float(bottom), float(columns[1].max() + 1)

    def crop(self, window: Sequence[float] | np.ndarray, size: int) -> np.ndarray:
        """Return the part inside a `window` of the image, resized to `[size, size]` float32 in 0..1.

        The window is yxyx in pixels inside the image; if its right side is smaller than its left side, the result is
        mirrored. As in TF Model Garden's input, the resize is `tf.image.crop_and_resize` of a box that is normalized by
        the image's size: bilinear with aligned corners, and a side at `p` of `n` pixels reads at `p * (n - 1) / n`,
        where 0 is the middle of the first pixel. Raises as `counts`.
        """
        top, left, bottom, right = map(float, window)
        rows, columns = _positions(top, bottom, self.height, size), _positions(left, right, self.width, size)
        first, last = int(columns.min()), int(columns.max())
        pixels = self._columns(first, min(last + 2, self.width)).astype(np.float32)
        return _between(_between(pixels, rows, axis=0), columns - first, axis=1)

    def _columns(self, left: int, right: int) -> np.ndarray:
        """Decode columns of the image to `[height, right - left]` bool."""
        runs = self.runs()
        ends = np.clip(np.cumsum(runs), left * self.height, right * self.height)  # other columns get empty runs
        lengths = np.diff(ends, prepend=left * self.height)
        return np.repeat(np.arange(len(runs)) % 2 == 1, lengths).reshape(right - left, self.height).T


def _positions(begin: float, end: float, pixels: int, size: int) -> np.ndarray:
    return np.clip(np.linspace(begin, end, size) * ((pixels - 1) / pixels), 0, pixels - 1)


def _between(values: np.ndarray, positions: np.ndarray, axis: int) -> np.ndarray:
    """Interpolate `[h, w]` linearly at positions along an axis."""
    first = positions.astype(np.int64)
    second = np.minimum(first + 1, values.shape[axis] - 1)
    part = np.expand_dims((positions - first).astype(np.float32), 1 - axis)
    before = values.take(first, axis)
    return before + (values.take(second, axis) - before) * part


@dataclass(frozen=True, eq=False, slots=True)
class RunLengthMask(Mask):
    """A mask that is stored as compressed run lengths, which must add up to the image's pixels."""

    compressed: bytes

    @classmethod
    def of(cls, pixels: np.ndarray) -> RunLengthMask:
        """Encode a mask `[height, width]` bool."""
        from faster_coco_eval.core.mask import encode

        height, width = pixels.shape
        return cls(height, width, encode(np.asfortranarray(pixels, np.uint8))["counts"])

    @classmethod
    def of_runs(cls, runs: list[int], height: int, width: int) -> RunLengthMask:
        """Compress run lengths."""
        from faster_coco_eval.core.mask import frPyObjects

        return cls(height, width, frPyObjects({"counts": runs, "size": [height, width]}, height, width)["counts"])

    def counts(self) -> bytes:
        return self.compressed


@dataclass(frozen=True, eq=False, slots=True)
class PolygonMask(Mask):
    """A mask that is stored as polygons, each `[2 * P]` float64 (x, y, x, y ... in pixels); it is their union."""

    polygons: tuple[np.ndarray, ...]

    def counts(self) -> bytes:
        from faster_coco_eval.core.mask import frPyObjects, merge

        return merge(frPyObjects([each.tolist() for each in self.polygons], self.height, self.width))["counts"]

    @property
    def outline(self) -> Box:
        """The yxyx box around the points, which may lie outside of the image."""
        xs, ys = (np.concatenate([each[axis::2] for each in self.polygons]) for axis in (0, 1))
        return float(ys.min()), float(xs.min()), float(ys.max()), float(xs.max())
