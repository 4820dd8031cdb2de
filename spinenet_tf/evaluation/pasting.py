"""Paste the masks of detections, small probability maps inside their boxes, into the pixels of the image."""

from __future__ import annotations

import numpy as np

from spinenet_tf.data.masks import RunLengthMask

PROBABILITY = 0.5  # pixels above it belong to the object


def paste_mask(probabilities: np.ndarray, box: np.ndarray, height: int, width: int) -> RunLengthMask:
    """Return the encoded mask of one detection in an image of `height` x `width` pixels.

    `probabilities` `[R, C]` cover the `box`, yxyx in pixels of the image, which may exceed the image. Rounding is that
    of TF Model Garden's `paste_instance_masks`: the map is padded by zeros and the box enlarged accordingly, in
    float32; its corners are truncated toward zero to whole pixels, both of which belong to it; the map is resized to
    them bilinearly, with half-pixel centers and without antialiasing; pixels above `PROBABILITY` are the object. Only
    where a resized value is exactly `PROBABILITY`, the last bit of the sum may decide otherwise.
    """
    padded = np.pad(np.asarray(probabilities, np.float32), 1)
    top, left, bottom, right = _whole_pixels(box, padded.shape)
    rows, first_row = _weights(top, bottom, padded.shape[0], height)
    columns, first_column = _weights(left, right, padded.shape[1], width)
    strip = np.zeros((height, len(columns)), bool)
    strip[first_row : first_row + len(rows)] = rows @ padded @ columns.T > PROBABILITY
    return _encoded(strip, first_column, width)


def _whole_pixels(box: np.ndarray, padded: tuple[int, ...]) -> tuple[int, ...]:
    """Return the first and last pixels, yxyx, of a box that is enlarged by the padding of a square map."""
    first, last = np.asarray(box, np.float32).reshape(2, 2)
    scale = max(side / (side - 2) for side in padded)
    half = (last - first) * np.float32(0.5)
    center = first + half
    half = half * np.float32(scale)
    return tuple(np.concatenate([center - half, center + half]).astype(np.int64).tolist())


def _weights(first: int, last: int, count: int, limit: int) -> tuple[np.ndarray, int]:
    """Return the bilinear weights `[P, count]` of `count` values at the pixels from `first` to `last` within an image.

    Only the pixels 0..limit - 1 are computed; the second result is the first of them.
    """
    start, stop = (min(max(pixel, 0), limit) for pixel in (first, last + 1))
    pixels = np.arange(start, stop) - first
    positions = ((pixels + 0.5) * (count / max(1, last + 1 - first)) - 0.5).astype(np.float32)
    distances = np.clip(positions, 0, count - 1)[:, None] - np.arange(count, dtype=np.float32)
    return np.maximum(0, 1 - np.abs(distances)), start


def _encoded(strip: np.ndarray, left: int, width: int) -> RunLengthMask:
    """Encode a mask that is empty except for its columns from `left` on, without making it as wide as the image."""
    height = len(strip)
    edges = np.flatnonzero(np.diff(strip.ravel(order="F"), prepend=False, append=False)) + left * height
    runs = np.diff(edges, prepend=0, append=height * width)
    return RunLengthMask.of_runs(runs[: len(runs) - (runs[-1] == 0)].tolist(), height, width)
