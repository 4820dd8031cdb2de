"""Load the font of all drawings: matplotlib's DejaVu Sans, which has Latin, Greek, Cyrillic and some other scripts."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from PIL import ImageFont, features

LONGEST = 60  # characters of a label
_CROWD = " (crowd)"


def load_font(size: int) -> ImageFont.FreeTypeFont:
    """Return the font at a size in pixels."""
    return ImageFont.truetype(str(_file()), size)


def label(name: str, number: int) -> str:
    """Return the label of a class: its name, truncated if long, or its number if the font cannot draw the name."""
    return _cut(name, LONGEST) if has_glyphs(name) else str(number)


def labels_with_crowds(names: Sequence[str]) -> list[str]:
    """Return the labels of all classes, followed by the labels of their crowds."""
    own = [label(name, number) for number, name in enumerate(names)]
    return [*own, *(_cut(text, LONGEST - len(_CROWD)) + _CROWD for text in own)]


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def has_glyphs(text: str) -> bool:
    """Return whether the font can draw a text."""
    # Without Raqm, Pillow draws right-to-left scripts in the wrong order.
    sides = ("R", "AL") if not features.check("raqm") else ()
    return all(ord(sign) in _glyphs() and unicodedata.bidirectional(sign) not in sides for sign in text)


@functools.cache
def _file() -> Path:
    import matplotlib

    return Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")


@functools.cache
def _glyphs() -> frozenset[int]:
    """Return the code points that the font has."""
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(str(_file())).get_charmap())
