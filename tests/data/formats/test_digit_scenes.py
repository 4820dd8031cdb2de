"""Test that boxes fit the ink, ink differs from the ground, and the splits are disjoint."""

from __future__ import annotations

import numpy as np

from spinenet_tf.data.formats.digit_scenes import _INK, _bounds, _color, _seen, draw_scene, outline, read_sources


def test_boxes_are_tight_around_the_visible_ink() -> None:
    rng, sources = np.random.default_rng(0), read_sources("train")
    for _ in range(10):
        _, objects = draw_scene(rng, sources, (128, 160))
        for _, opacity in objects:
            left, top, width, height = outline(opacity)["bbox"]
            ink = opacity > _INK
            inside = ink[top : top + height, left : left + width]
            assert ink.sum() == inside.sum() == outline(opacity)["area"]
            assert inside[0].any()
            assert inside[-1].any()
            assert inside[:, 0].any()
            assert inside[:, -1].any()


def test_what_is_mostly_hidden_is_not_annotated() -> None:
    below, above = np.zeros((20, 20)), np.zeros((20, 20))
    below[5:15, 5:15] = 1
    above[5:10, 5:15] = 1
    assert [label for label, _ in _seen([(3, below), (8, above)])] == [8]
    above[7:10] = 0
    seen = dict(_seen([(3, below), (8, above)]))
    assert _bounds(seen[3]) == (7, 5, 15, 15)


def test_ink_can_be_told_from_the_ground() -> None:
    rng = np.random.default_rng(0)
    for level in np.linspace(0, 255, 30):
        colors = np.array([_color(rng, np.full((9, 3), level)) for _ in range(20)])
        assert (np.abs(colors.max(axis=1) - level) > 30).all()


def test_the_splits_share_no_digit_and_no_ground() -> None:
    train, val = read_sources("train"), read_sources("val")
    assert len(train.digits) + len(val.digits) == 1797
    assert len(val.digits) == round(0.2 * 1797)
    seen = {digit.tobytes() for digit in train.digits}
    assert not any(digit.tobytes() in seen for digit in val.digits)
    for a, b in zip(train.grounds, val.grounds, strict=True):
        assert a.width + b.width == 640
        assert a.height == b.height == 427
