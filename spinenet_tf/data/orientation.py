"""Apply the EXIF orientation to images and boxes.

TensorFlow's decoders return stored pixels, so boxes in TF Model Garden's schema and in TFDS refer to stored pixels.
Image viewers and this package show the image upright.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

UPRIGHT = 1


class Turn(NamedTuple):
    """The operations that turn stored pixels upright, in this order."""

    rows: bool  # flip top and bottom
    columns: bool  # flip left and right
    swap: bool  # transpose rows and columns


TURNS = {
    UPRIGHT: Turn(False, False, False),
    2: Turn(False, True, False),
    3: Turn(True, True, False),
    4: Turn(True, False, False),
    5: Turn(False, False, True),
    6: Turn(True, False, True),
    7: Turn(True, True, True),
    8: Turn(False, True, True),
}


def upright_image(stored: np.ndarray, orientation: int) -> np.ndarray:
    """Return the upright image `[H, W, ...]` of stored pixels `[h, w, ...]`."""
    turn = TURNS[orientation]
    seen = stored[:: -1 if turn.rows else 1, :: -1 if turn.columns else 1]
    return np.ascontiguousarray(seen.swapaxes(0, 1) if turn.swap else seen)


def stored_image(upright: np.ndarray, orientation: int) -> np.ndarray:
    """Return the stored pixels `[h, w, ...]` of an upright image `[H, W, ...]`."""
    turn = TURNS[orientation]
    seen = upright.swapaxes(0, 1) if turn.swap else upright
    return np.ascontiguousarray(seen[:: -1 if turn.rows else 1, :: -1 if turn.columns else 1])


def turned_size(height: int, width: int, orientation: int) -> tuple[int, int]:
    """Convert height and width of stored pixels to those of the upright image, or back."""
    return (width, height) if TURNS[orientation].swap else (height, width)


def upright_boxes(stored: np.ndarray, height: int, width: int, orientation: int) -> np.ndarray:
    """Convert boxes `[N, 4]` yxyx from stored pixels (`height` x `width`) to the upright image."""
    turn = TURNS[orientation]
    boxes = _mirrored(stored, height, width, turn)
    return boxes[:, [1, 0, 3, 2]] if turn.swap else boxes


def stored_boxes(upright: np.ndarray, height: int, width: int, orientation: int) -> np.ndarray:
    """Convert boxes `[N, 4]` yxyx from the upright image to stored pixels (`height` x `width`)."""
    turn = TURNS[orientation]
    return _mirrored(upright[:, [1, 0, 3, 2]] if turn.swap else upright, height, width, turn)


def _mirrored(boxes: np.ndarray, height: int, width: int, turn: Turn) -> np.ndarray:
    top, left, bottom, right = np.asarray(boxes, np.float64).reshape(-1, 4).T
    top, bottom = (height - bottom, height - top) if turn.rows else (top, bottom)
    left, right = (width - right, width - left) if turn.columns else (left, right)
    return np.stack([top, left, bottom, right], axis=1)
