"""Test that one polygon outlines any mask exactly: with several parts, holes, and parts that touch at a corner."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spinenet_tf.data.masks import PolygonMask, RunLengthMask
from spinenet_tf.data.outlines import outline


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 12), st.sampled_from([0.1, 0.5, 0.9, 1.0]))
def test_the_outline_of_a_mask_encloses_exactly_its_pixels(seed: int, height: int, width: int, density: float) -> None:
    pixels = np.random.default_rng(seed).random((height, width)) < density
    polygon = outline(RunLengthMask.of(pixels))
    if not pixels.any():
        assert polygon is None
        return
    assert ((polygon.reshape(-1, 2) >= 0) & (polygon.reshape(-1, 2) <= [width, height])).all()
    np.testing.assert_array_equal(PolygonMask(height, width, (polygon,)).decode(), pixels)


def test_a_rectangle_has_four_corners_and_a_polygon_stays_as_it_is() -> None:
    pixels = np.zeros((9, 12), bool)
    pixels[2:5, 3:10] = True
    corners = outline(RunLengthMask.of(pixels)).reshape(-1, 2)
    assert {*map(tuple, corners.tolist())} == {(3, 2), (10, 2), (10, 5), (3, 5)}
    assert len(corners) == 4
    triangle = np.array([1.25, 2, 7.5, 2, 3, 8.75])
    assert outline(PolygonMask(9, 12, (triangle,))) is triangle


@pytest.mark.parametrize("others", [(), (np.array([0, 0, 6, 0, 6, 5.0]),)])
def test_polygons_over_the_border_or_in_several_parts_are_outlined(others: tuple) -> None:
    mask = PolygonMask(9, 12, (np.array([-3.0, 2, 7.5, 2, 3, 8.75]), *others))
    points = outline(mask)
    assert points.min() >= 0
    np.testing.assert_array_equal(PolygonMask(9, 12, (points,)).decode(), mask.decode())
