"""Test that class names are drawn with their glyphs, or as the number of the class."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from spinenet_tf.drawing.boxes import draw_detections
from spinenet_tf.drawing.fonts import LONGEST, label, labels_with_crowds, load_font

GRAY = np.full((400, 500, 3), 128, np.uint8)


def drawn(name: str, number: int = 0) -> np.ndarray:
    """Return the picture of a box of class `number` with a name."""
    names = [*map(str, range(number)), name]
    return draw_detections(GRAY, np.array([[100.0, 60.0, 300.0, 400.0]]), np.array([number]), class_names=names)


def inked(text: str) -> np.ndarray:
    """Return where the font puts ink as `[h, w]` bool, cropped to the ink."""
    picture = Image.new("L", (400, 40), 255)
    ImageDraw.Draw(picture).text((2, 2), text, fill=0, font=load_font(12))
    ink = np.asarray(picture) < 128
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


@pytest.mark.parametrize("name", ["кошка", "Ёж и ещё ёлка", "γάτα", "größer Vogel", "cat"])
def test_names_are_drawn_in_their_own_letters(name: str) -> None:
    """The white pixels on the red of class 0 must equal those that the font draws."""
    picture, letters = drawn(name), inked(name)
    white = picture[..., 1] > 153
    assert not white[105:].any()
    rows, columns = np.flatnonzero(white.any(1)), np.flatnonzero(white.any(0))
    found = white[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert found.shape == letters.shape
    assert (found == letters).mean() > 0.95  # rounding at the edges of letters


def test_names_of_one_length_differ() -> None:
    """They would look the same if the font drew a box for every missing letter."""
    pictures = [drawn(name) for name in ("кот", "пёс", "γατ", "cat")]
    assert all((a != b).any() for i, a in enumerate(pictures) for b in pictures[:i])


@pytest.mark.parametrize("name", ["猫", "cat 猫", "แมว", "a\nb", "\x00", "\ue000"])
def test_a_name_without_glyphs_is_drawn_as_the_number_of_its_class(name: str) -> None:
    np.testing.assert_array_equal(drawn(name, 7), drawn("7", 7))


def test_labels_of_crowds_have_the_numbers_of_their_classes() -> None:
    assert labels_with_crowds(["cat", "猫"]) == ["cat", "1", "cat (crowd)", "1 (crowd)"]


def test_what_runs_from_right_to_left_needs_a_layout_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spinenet_tf.drawing.fonts.features.check", lambda name: True)
    assert label("قطة", 3) == "قطة"
    monkeypatch.setattr("spinenet_tf.drawing.fonts.features.check", lambda name: False)
    assert (label("قطة", 3), label("cat", 3)) == ("3", "cat")


def test_a_long_name_is_cut() -> None:
    text, crowd = labels_with_crowds(["c" * 10**6])
    assert (len(text), text[-2:]) == (LONGEST, "c…")
    assert (len(crowd), crowd[-9:]) == (LONGEST, "… (crowd)")
