"""Masks land in the pixels of their boxes, also at the edges of the image. tests/garden compares TF Model Garden."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from spinenet_tf.evaluation.pasting import paste_mask

FULL = np.ones((28, 28), np.float32)


def test_a_full_mask_fills_its_box_to_the_pixel() -> None:
    """Half of the padding's weight is inside of the box on each side, so the edge is where the box's edge is."""
    mask = paste_mask(FULL, np.float32([10, 20, 50, 90]), 64, 100).decode()
    expected = np.zeros((64, 100), bool)
    expected[10:51, 20:91] = True  # both corners belong to the box
    assert (mask != expected).sum() <= 2 * (41 + 71), "one pixel at each side"
    assert mask[12:49, 22:89].all()
    assert not mask[:9].any()
    assert not mask[52:].any()


def test_a_gradient_is_cut_at_one_half() -> None:
    gradient = np.tile(np.linspace(0, 1, 28, dtype=np.float32), (28, 1))
    mask = paste_mask(gradient, np.float32([0, 0, 100, 100]), 100, 100).decode()
    assert mask[5:95, 52:98].all()
    assert not mask[:, :48].any()


@pytest.mark.parametrize("side", [7, 14, 28, 56])
def test_maps_of_any_size_are_pasted(side: int) -> None:
    area = paste_mask(np.ones((side, side)), np.float32([100, 100, 200, 300]), 400, 400).area
    assert area == pytest.approx(100 * 200, rel=0.05)


@pytest.mark.parametrize(
    ("box", "visible"),
    [((-20, -30, 20, 30), (slice(0, 20), slice(0, 30))), ((80, 130, 140, 190), (slice(80, 100), slice(130, 160)))],
)
def test_what_is_outside_of_the_image_is_cut_off_without_moving_the_rest(box: tuple, visible: tuple) -> None:
    checkers = np.kron(np.indices((2, 2)).sum(axis=0) % 2, np.ones((14, 14))).astype(np.float32)
    mask = paste_mask(checkers, np.float32(box), 100, 160).decode()
    wide = paste_mask(checkers, np.float32(box) + 200, 500, 560).decode()[200:300, 200:360]
    assert (mask != wide).mean() < 0.01, "truncation toward zero differs by up to a pixel for negative corners"
    outside = np.ones_like(mask)
    outside[: visible[0].stop + 2, : visible[1].stop + 2] = False
    assert not mask[outside].any()


@pytest.mark.parametrize("box", [(-50, -50, -10, -10), (200, 10, 300, 20), (10, 500, 20, 600)])
def test_a_box_outside_of_the_image_has_an_empty_mask(box: tuple) -> None:
    mask = paste_mask(FULL, np.float32(box), 100, 160)
    assert (mask.area, mask.decode().shape) == (0, (100, 160))


@pytest.mark.parametrize("box", [(50, 60, 50, 60), (50, 60, 50.4, 60.4)])
def test_a_box_without_area_has_at_most_a_few_pixels(box: tuple) -> None:
    assert paste_mask(FULL, np.float32(box), 100, 160).area <= 4


def test_memory_depends_on_the_box_and_not_on_the_width_of_the_image() -> None:
    paste_mask(FULL, np.float32([100, 200, 140, 240]), 200, 300)  # imports
    tracemalloc.start()
    mask = paste_mask(FULL, np.float32([1000, 2000, 1040, 2040]), 4000, 100_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert mask.area > 1000
    assert peak < 4e6, "the image has 400 million pixels, its columns in the box 168,000"


def test_run_lengths_are_those_of_pycocotools() -> None:
    from pycocotools.mask import encode

    rng = np.random.default_rng(0)
    for _ in range(50):
        height, width = rng.integers(1, 60, 2)
        start = rng.uniform(-20, 40, 2)
        box = np.float32([*start, *(start + rng.uniform(0, 60, 2))])
        mask = paste_mask(rng.random((28, 28)), box, height, width)
        assert mask.counts() == encode(np.asfortranarray(mask.decode(), np.uint8))["counts"]
