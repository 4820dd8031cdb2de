"""Test that boxes of segmentations equal those of COCO's tools."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as oracle

from spinenet_tf.data.formats.segmentations import box_of


@settings(max_examples=200)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1), st.sampled_from([0.02, 0.3, 0.9]))
def test_boxes_of_masks_are_those_of_pycocotools(height: int, width: int, seed: int, density: float) -> None:
    pixels = np.random.default_rng(seed).random((height, width)) < density
    compressed = oracle.encode(np.asfortranarray(pixels, np.uint8))
    runs, value = [0], False
    for pixel in pixels.T.ravel().tolist():
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    ys, xs = np.nonzero(pixels)
    expected = [0, 0, 0, 0]
    if len(xs):
        expected = [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
        assert oracle.toBbox(compressed).tolist() == expected
    size = (height, width)
    assert box_of({"counts": compressed["counts"].decode(), "size": [*size]}, size) == expected
    assert box_of({"counts": runs, "size": [*size]}, size) == expected


def test_long_runs_are_compressed_in_several_characters() -> None:
    pixels = np.zeros((700, 900), np.uint8)
    pixels[100:600, 300:850] = 1
    text = oracle.encode(np.asfortranarray(pixels))["counts"].decode()
    assert box_of({"counts": text, "size": [700, 900]}, (700, 900)) == [300, 100, 550, 500]


@pytest.mark.parametrize(
    ("polygons", "box"),
    [
        ([[1, 2, 5, 2, 3, 8.5]], [1, 2, 4, 6.5]),
        ([[1, 2, 5, 2, 3, 8], [-1, 9, 0, 9, 0, 10, 1, 1]], [-1, 1, 6, 9]),
        ([1, 2, 5, 2, 3, 8], [1, 2, 4, 6]),
    ],
)
def test_polygons_have_the_box_of_their_points(polygons: list, box: list[float]) -> None:
    assert box_of(polygons, (20, 20)) == box


@pytest.mark.parametrize(
    "segmentation",
    [
        *(None, [], "x", 3, [[]], [[1, 2, 3, 4]], [[1, 2, 3, 4, 5]], [[1, 2, 3, 4, 5, float("nan")]]),
        *([[1, 1, 1, 1, 1, "2"]], [[10**400] * 6], [[True] * 6], [[1, 2, 3, 4, 5, 6], 7]),
        *({}, {"counts": [12]}, {"counts": [12], "size": [4, 3]}),
        *({"counts": c, "size": [3, 4]} for c in ([11], [13], [-1, 13], [6.0, 6.0], ["12"], [True, 11], [10**30])),
        *({"counts": c, "size": [3, 4]} for c in ([[12]], 5, {}, "", "`", "\x00", "é", "<<<<")),
        *({"counts": c, "size": [3, 4]} for c in ("o" * 13 + "0", "o" * 1_000_000)),
    ],
)
def test_what_is_no_segmentation_of_the_image_has_no_box(segmentation: object) -> None:
    assert box_of(segmentation, (3, 4)) is None
