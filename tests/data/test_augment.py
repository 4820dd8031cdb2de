"""Augmentation moves boxes with the pixels under them, and is a function of its seed."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from spinenet_tf.data.augment import pad_boxes, random_flip, random_scale_crop
from spinenet_tf.data.images import preprocess

BOXES = tf.constant([[10.0, 20.0, 30.0, 50.0], [40.0, 5.0, 60.0, 15.0]])
CLASSES = tf.constant([1, 2])


def marked(height: int = 70, width: int = 90) -> np.ndarray:
    """Return a black image in which `BOXES` are white."""
    image = np.zeros((height, width, 3), np.uint8)
    for top, left, bottom, right in BOXES.numpy().astype(int):
        image[top:bottom, left:right] = 255
    return image


def crop(seed: int, image: np.ndarray | None = None, low: float = 0.5, high: float = 2.0):
    image = marked() if image is None else image
    return random_scale_crop(tf.constant(image), BOXES, CLASSES, 64, 64, low, high, tf.constant([seed, 7]))


def test_a_flip_moves_boxes_with_their_pixels_and_happens_half_the_time() -> None:
    flips = 0
    for seed in range(60):
        image, boxes = random_flip(tf.constant(marked()), BOXES, tf.constant([seed, 0]))
        flips += int(boxes[0, 1] != BOXES[0, 1])
        for top, left, bottom, right in boxes.numpy().astype(int):
            assert (image[top:bottom, left:right] == 255).numpy().all()
        assert int(tf.reduce_sum(tf.cast(image, tf.int32))) == marked().sum(dtype=int)
    assert 18 <= flips <= 42


@given(seed=st.integers(0, 10_000))
def test_boxes_stay_on_their_pixels_through_scale_and_crop(seed: int) -> None:
    image, boxes, classes = crop(seed)
    bright = image.numpy()[..., 0] > 2.0  # about 255 once normalised
    assert len(boxes) == len(classes)
    for box in boxes.numpy():
        assert (box >= 0).all()
        assert (box <= 64).all()
        top, left, bottom, right = np.round(box).astype(int)
        if min(bottom - top, right - left) > 4:
            assert bright[top + 2 : bottom - 2, left + 2 : right - 2].all()
            bright[max(0, top - 2) : bottom + 2, max(0, left - 2) : right + 2] = False
        else:
            bright[max(0, top - 6) : bottom + 6, max(0, left - 6) : right + 6] = False
    assert not bright.any()


def test_a_box_of_which_nothing_is_left_goes_with_its_class() -> None:
    kept = [crop(seed, low=3.0, high=3.0)[1:] for seed in range(40)]
    assert {tuple(classes.numpy()) for _, classes in kept} >= {(1,), (2,)}
    assert all((boxes.numpy()[:, 2:] > boxes.numpy()[:, :2]).all() for boxes, _ in kept)


def test_no_jitter_is_the_evaluation_preprocessing() -> None:
    image, boxes, classes = crop(3, low=1.0, high=1.0)
    expected, scale = preprocess(marked(), 64, 64)
    np.testing.assert_allclose(image, expected, atol=1e-5)
    np.testing.assert_allclose(boxes, BOXES * scale, rtol=1e-5)
    assert classes.numpy().tolist() == [1, 2]


def test_small_scales_pad_with_zeros_at_the_bottom_and_right() -> None:
    image, _, _ = crop(1, low=0.5, high=0.5)
    assert not image.numpy()[25:].any()
    assert not image.numpy()[:, 32:].any()
    assert (image.numpy()[:24, :31, 0] != 0).all()


def test_the_same_seed_gives_the_same_result_and_another_does_not() -> None:
    np.testing.assert_array_equal(crop(5)[0], crop(5)[0])
    assert np.abs(crop(5)[0].numpy() - crop(6)[0].numpy()).max() > 0.1


def test_images_without_boxes_pass() -> None:
    none, classes = tf.zeros([0, 4]), tf.zeros([0], tf.int32)
    image, boxes = random_flip(tf.constant(marked()), none, tf.constant([0, 0]))
    _, boxes, classes = random_scale_crop(image, boxes, classes, 64, 64, 0.5, 2.0, tf.constant([0, 0]))
    assert boxes.shape == (0, 4)
    assert classes.shape == (0,)


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_padding_rows_are_zero_boxes_of_class_minus_one(rows: int) -> None:
    boxes, classes = pad_boxes(BOXES, CLASSES, rows)
    assert classes.numpy().tolist() == [1, 2, -1, -1, -1][:rows]
    np.testing.assert_array_equal(boxes[:2], BOXES[:rows])
    assert not boxes.numpy()[2:].any()
