"""Masks are drawn where they are, below the boxes, and only those that are shown are decoded."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest

from spinenet_tf.drawing.boxes import draw_detections

GRAY = np.full((400, 500, 3), 128, np.uint8)
BOX = np.array([[50.0, 60.0, 150.0, 200.0]])


class Shown:
    """A mask that counts how often it is decoded."""

    def __init__(self, pixels: np.ndarray):
        self.pixels, self.decoded = pixels, 0

    def decode(self) -> np.ndarray:
        self.decoded += 1
        return self.pixels


def rectangle(top: int, left: int, bottom: int, right: int, size: tuple[int, int] = (400, 500)) -> Shown:
    pixels = np.zeros(size, bool)
    pixels[top:bottom, left:right] = True
    return Shown(pixels)


def drawn(mask: Shown | None, image: np.ndarray = GRAY) -> np.ndarray:
    """Return the picture of one box with a mask."""
    return draw_detections(image, BOX, np.array([0]), masks=[mask])


def test_the_area_is_shaded_and_its_outline_is_solid() -> None:
    picture, plain = drawn(rectangle(80, 90, 120, 170)), drawn(None)
    differ = (picture != plain).any(axis=-1)
    assert differ[80:120, 90:170].all()
    differ[80:120, 90:170] = False
    assert not differ.any(), "nothing else changes"
    color, inside = picture[80, 130], picture[100, 130]
    np.testing.assert_array_equal(color, picture[149, 199], "the outline has the color of the box")
    assert (np.abs(inside - 128.0) < np.abs(color - 128.0)).all(), "the image shows through"


@pytest.mark.parametrize(("rows", "columns"), [((0, 400), (0, 500)), ((0, 30), (480, 500)), ((399, 400), (0, 1))])
def test_a_mask_may_touch_the_edges_of_the_image(rows: tuple, columns: tuple) -> None:
    mask = rectangle(rows[0], columns[0], rows[1], columns[1])
    differ = (drawn(mask) != drawn(None)).any(axis=-1)
    own = mask.pixels & (np.abs(drawn(None) - 128.0).max(axis=-1) == 0)  # not below the box
    np.testing.assert_array_equal(differ, own)


def test_a_mask_of_an_image_that_was_resized_covers_the_same_part() -> None:
    small = drawn(rectangle(40, 45, 60, 85, (200, 250)))
    np.testing.assert_array_equal(small, drawn(rectangle(80, 90, 120, 170)))


def test_an_empty_mask_draws_nothing() -> None:
    np.testing.assert_array_equal(drawn(rectangle(0, 0, 0, 0)), drawn(None))


def test_objects_of_a_class_have_tones_of_its_color() -> None:
    masks = [rectangle(0, 60 * n, 50, 60 * n + 50) for n in range(4)]
    none = np.zeros((4, 4))
    picture = draw_detections(GRAY, none, np.array([0, 0, 0, 1]), masks=masks)
    outlines = [tuple(picture[0, 60 * n + 25].tolist()) for n in range(4)]
    assert len(set(outlines)) == 4
    hues = [round(colorsys.rgb_to_hsv(*outline)[0], 2) for outline in outlines]
    assert hues[0] == hues[1] == hues[2] != hues[3]


def test_only_masks_that_are_shown_are_decoded() -> None:
    masks = [rectangle(0, 0, 9, 9) for _ in range(3)]
    boxes, classes = np.repeat(BOX, 3, axis=0), np.array([0, 1, -1])
    draw_detections(GRAY, boxes, classes, np.array([0.9, 0.1, 0.9]), threshold=0.3, masks=masks)
    assert [mask.decoded for mask in masks] == [1, 0, 0]
