"""The font of all drawings, DejaVu Sans as matplotlib ships it: Latin, Greek, Cyrillic and some more."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from PIL import ImageFont, features

LONGEST = 60  # characters of a name in a picture
_CROWD = " (crowd)"


def load_font(size: int) -> ImageFont.FreeTypeFont:
    """Return the font in a size in pixels."""
    return ImageFont.truetype(str(_file()), size)


def label(name: str, number: int) -> str:
    """Return what stands for a class in a picture: a long name is cut, and one without glyphs is the class's number."""
    return _cut(name, LONGEST) if has_glyphs(name) else str(number)


def labels_with_crowds(names: Sequence[str]) -> list[str]:
    """Return the labels of classes, and behind them those of crowds of the same classes."""
    own = [label(name, number) for number, name in enumerate(names)]
    return [*own, *(_cut(text, LONGEST - len(_CROWD)) + _CROWD for text in own)]


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def has_glyphs(text: str) -> bool:
    """Tell whether the font can draw a text."""
    # Without Raqm, Pillow sets what runs from right to left the wrong way round.
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
