"""Test that color augmentation equals Pillow's operations, stays in range, and depends only on the seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from spinenet_tf.data.augmentation import Augment
from spinenet_tf.data.input.colors import OPERATIONS, color_jitter, rand_augment, recolor


def picture(height: int = 12, width: int = 9, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def key(seed: int) -> np.ndarray:
    return np.array([seed, -seed], np.int64)


def test_the_defaults_leave_images_alone() -> None:
    assert not Augment().changes_colors
    np.testing.assert_array_equal(recolor(picture(), key(1), Augment()), picture())
    assert Augment(color_jitter=0.1).changes_colors
    assert Augment(rand_augment=1).changes_colors


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**62),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    jitter=st.floats(0, 1),
    operations=st.integers(0, 4),
    magnitude=st.floats(0, 1),
)
def test_any_image_keeps_its_shape_and_the_seed_decides(seed, size, jitter, operations, magnitude) -> None:
    image = picture(*size)
    augment = Augment(color_jitter=jitter, rand_augment=operations, magnitude=magnitude)
    changed = recolor(image, key(seed), augment)
    assert (changed.shape, changed.dtype) == (image.shape, np.uint8)
    np.testing.assert_array_equal(changed, recolor(image, key(seed), augment))


@pytest.mark.parametrize("augment", [Augment(color_jitter=0.5), Augment(rand_augment=2)])
def test_seeds_differ(augment: Augment) -> None:
    assert len({recolor(picture(), key(seed), augment).tobytes() for seed in range(20)}) > 10


def test_jitter_stays_within_its_factors() -> None:
    gray = Image.fromarray(np.full((8, 8, 3), 100, np.uint8))
    levels = [np.array(color_jitter(gray, 0.3, np.random.default_rng(seed))) for seed in range(50)]
    assert min(map(np.min, levels)) in range(69, 75)
    assert max(map(np.max, levels)) in range(125, 132)


def test_a_jittered_hue_turns_a_tenth_of_the_circle_at_most() -> None:
    red = Image.fromarray(np.tile(np.array([200, 40, 40], np.uint8), (4, 4, 1)))
    hues = [color_jitter(red, 1.0, np.random.default_rng(seed)).convert("HSV").getpixel((0, 0)) for seed in range(60)]
    turned = [min(hue, 256 - hue) for hue, saturation, value in hues if saturation > 100 and value > 100]
    assert 15 < max(turned) < 32, "a tenth of 256, and what HSV in bytes rounds"


def test_operations_are_drawn_evenly_and_applied_in_turn() -> None:
    image = Image.fromarray(picture(64, 64) // 2 + 40)  # with room for more contrast, and pixels enough to equalize
    once = {rand_augment(image, 1, 1.0, np.random.default_rng(seed)).tobytes() for seed in range(200)}
    expected = [ImageOps.autocontrast(image), ImageOps.equalize(image), ImageOps.posterize(image, 4)]
    assert {change.tobytes() for change in (image, *expected, ImageOps.solarize(image, 0))} <= once
    assert len(once) == len(OPERATIONS) + 4, "the four enhancers go either way"
    twice = {rand_augment(image, 2, 1.0, np.random.default_rng(seed)).tobytes() for seed in range(200)}
    assert len(twice) > 2 * len(once)
