"""Draw masks of objects: a transparent area with an outline."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from spinenet_tf.drawing.colors import Color

OPACITY = 0.4  # of the area; its texture stays visible


class Encoded(Protocol):
    """A mask that is decoded only to be drawn."""

    def decode(self) -> np.ndarray:
        """Return the mask of the whole image, `[h, w]` bool."""


def draw_mask(picture: Image.Image, mask: Encoded, color: Color, line: int) -> None:
    """Draw a mask on a picture of the same scene of any size, with an outline of `line` px inside of the mask."""
    area = Image.fromarray(mask.decode()).convert("L").resize(picture.size, Image.Resampling.BILINEAR)
    area = area.point([0] * 128 + [255] * 128)
    frame = area.getbbox()
    if frame is None:
        return
    left, top, right, bottom = frame
    area = area.crop((left - 1, top - 1, right + 1, bottom + 1))  # the mask ends where the picture does
    outline = ImageChops.subtract(area, _eroded(area, line))
    shade = ImageChops.multiply(area, Image.new("L", area.size, round(255 * OPACITY)))
    picture.paste(color, (left - 1, top - 1), ImageChops.lighter(shade, outline))


def _eroded(area: Image.Image, pixels: int) -> Image.Image:
    for _ in range(pixels):
        area = area.filter(ImageFilter.MinFilter(3))
    return area
