"""Find masks that contradict their image or their box."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from spinenet_tf.data.dataset import DataError, Example
from spinenet_tf.data.masks import Box, Mask, PolygonMask

TOLERANCE = 1.0  # px that a polygon may exceed its image by rounding
BOX_TOLERANCE = 2.0  # px that pixels may exceed their box: tools round boxes, and count their sides, differently

Fault = tuple[str, bool]  # a message, and whether training of masks stops at it


def mask_faults(example: Example, decode: bool = True) -> list[Fault]:
    """Return the faults of the masks of an image; with `decode`, also of masks that are stored as images.

    A mask is at fault if it has no pixels, exceeds its image or its box, or cannot be read.
    """
    faults: list[Fault] = []
    for box, mask in zip(example.boxes.tolist(), example.masks or (), strict=False):
        if mask is None or (mask.is_file and not decode):
            continue
        where = f"Received: a mask in the box yxyx={[round(side, 2) for side in box]}"
        try:
            faults += [(f"{message}. {where}", False) for message in _faults(mask, box)]
        except DataError as error:
            faults.append((f"the mask cannot be read: {error}. {where}", True))
    return faults


def _faults(mask: Mask, box: Box) -> Iterator[str]:
    if isinstance(mask, PolygonMask):
        over = _excess(mask.outline, (0, 0, mask.height, mask.width))
        if over > TOLERANCE:
            yield f"a polygon exceeds its image of {mask.height} x {mask.width} by {over:.4g} px"
    found = mask.box
    if found[2] <= found[0]:
        yield "the mask has no pixels inside its image"
    elif (over := _excess(found, box)) > BOX_TOLERANCE:
        yield f"the mask exceeds its box by {over:.4g} px"


def _excess(inner: Box, outer: Box) -> float:
    """Return by how many pixels a yxyx box exceeds another one, at most."""
    inside = np.array(inner) - np.array(outer)
    return float(max(-inside[:2].min(), inside[2:].max()))
