"""Choose the colors of objects: a hue for each class, and tones for the objects of a class."""

from __future__ import annotations

import colorsys
from collections import Counter
from collections.abc import Iterable

Color = tuple[int, int, int]  # red, green, blue in 0..255

TONES = ((0.8, 1.0), (0.4, 1.0), (1.0, 0.65))  # saturation and value
_GOLDEN = 0.618034  # of the color circle: neighboring classes get very different hues, for any number of classes


def colors(labels: Iterable[int], tones: int = 1) -> list[Color]:
    """Return a color for each class number; objects of the same class alternate between `tones` of `TONES`."""
    seen: Counter[int] = Counter()
    found = []
    for label in labels:
        found.append(_color(label, *TONES[seen[label] % tones]))
        seen[label] += 1
    return found


def _color(label: int, saturation: float, value: float) -> Color:
    red, green, blue = colorsys.hsv_to_rgb(label * _GOLDEN % 1.0, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)
