"""Test that augmentation moves boxes together with their pixels, and depends only on its seed."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from spinenet_tf.data.fitting import preprocess
from spinenet_tf.data.input.augment import mosaic, padded, random_flip, random_scale_crop

BOXES = tf.constant([[10.0, 20.0, 30.0, 50.0], [40.0, 5.0, 60.0, 15.0]])
CLASSES = tf.constant([1, 2])
OBJECTS = {"boxes": BOXES, "classes": CLASSES}
NOTHING = {"boxes": tf.zeros([0, 4]), "classes": tf.zeros([0], tf.int32)}


def marked(height: int = 70, width: int = 90) -> np.ndarray:
    """Return a black image in which `BOXES` are white."""
    image = np.zeros((height, width, 3), np.uint8)
    for top, left, bottom, right in BOXES.numpy().astype(int):
        image[top:bottom, left:right] = 255
    return image


def crop(seed: int, low: float = 0.5, high: float = 2.0) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return an image, boxes and classes."""
    image, objects = random_scale_crop(tf.constant(marked()), OBJECTS, 64, 64, low, high, tf.constant([seed, 7]))
    return image, objects["boxes"], objects["classes"]


def test_a_flip_moves_boxes_with_their_pixels_and_happens_half_the_time() -> None:
    flips = 0
    for seed in range(60):
        image, objects = random_flip(tf.constant(marked()), OBJECTS, tf.constant([seed, 0]))
        boxes = objects["boxes"]
        flips += int(boxes[0, 1] != BOXES[0, 1])
        for top, left, bottom, right in boxes.numpy().astype(int):
            assert (image[top:bottom, left:right] == 255).numpy().all()
        assert int(tf.reduce_sum(tf.cast(image, tf.int32))) == marked().sum(dtype=int)
    assert 18 <= flips <= 42


@given(seed=st.integers(0, 10_000))
def test_boxes_stay_on_their_pixels_through_scale_and_crop(seed: int) -> None:
    image, boxes, classes = crop(seed)
    bright = image.numpy()[..., 0] > 2.0  # about 255 once normalized
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
    image, objects = random_flip(tf.constant(marked()), NOTHING, tf.constant([0, 0]))
    _, objects = random_scale_crop(image, objects, 64, 64, 0.5, 2.0, tf.constant([0, 0]))
    assert objects["boxes"].shape == (0, 4)
    assert objects["classes"].shape == (0,)


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_padding_rows_are_zero_boxes_of_class_minus_one(rows: int) -> None:
    boxes, classes = padded(OBJECTS, rows).values()
    assert classes.numpy().tolist() == [1, 2, -1, -1, -1][:rows]
    np.testing.assert_array_equal(boxes[:2], BOXES[:rows])
    assert not boxes.numpy()[2:].any()


def part(rng: np.random.Generator, height: int, width: int, count: int):
    """Return a noise image of this size with `count` boxes of the classes 0, 1, ..."""
    corners = np.sort(rng.uniform(0, 1, (count, 2, 2)), axis=1).reshape(count, 4)
    boxes = (corners * [height, width, height, width]).astype(np.float32)
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    return tf.constant(image), {"boxes": tf.constant(boxes), "classes": tf.range(count)}


SIZES = st.tuples(st.integers(1, 60), st.integers(1, 60), st.integers(0, 5))
RANGES = st.tuples(st.floats(0.1, 1.0), st.floats(1.0, 3.0))


def assert_valid(image: tf.Tensor, objects: dict[str, tf.Tensor], height: int, width: int) -> None:
    assert image.shape == (height, width, 3)
    assert np.isfinite(image).all()
    boxes = objects["boxes"].numpy()
    assert np.isfinite(boxes).all()
    assert len(boxes) == len(objects["classes"])
    assert ((boxes >= 0) & (boxes <= [height, width, height, width])).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()


@settings(max_examples=60)
@given(seed=st.integers(0, 2**31 - 1), size=SIZES, jitter=RANGES)
def test_whatever_the_image_a_crop_keeps_valid_boxes_their_classes_and_no_more_area(seed, size, jitter) -> None:
    image, objects = part(np.random.default_rng(seed), *size)
    cut, kept = random_scale_crop(image, objects, 32, 48, *jitter, tf.constant([seed, 1]))
    assert_valid(cut, kept, 32, 48)
    assert set(kept["classes"].numpy()) <= set(objects["classes"].numpy())
    scale = min(32 / size[0], 48 / size[1]) * jitter[1]
    for box, label in zip(kept["boxes"].numpy(), kept["classes"].numpy(), strict=True):
        before = objects["boxes"].numpy()[label]
        assert ((box[2:] - box[:2]) <= (before[2:] - before[:2]) * scale + 1e-3).all()


@settings(max_examples=40)
@given(seed=st.integers(0, 2**31 - 1), sizes=st.lists(SIZES, min_size=4, max_size=4), jitter=RANGES)
def test_whatever_the_images_a_mosaic_keeps_valid_boxes_and_their_classes(seed, sizes, jitter) -> None:
    rng = np.random.default_rng(seed)
    parts = [part(rng, *size) for size in sizes]
    parts = [(image, own | {"classes": own["classes"] + 10 * i}) for i, (image, own) in enumerate(parts)]
    image, objects = mosaic(parts, 40, 56, *jitter, tf.constant([seed, 2]))
    assert_valid(image, objects, 40, 56)
    classes = objects["classes"].numpy()
    assert set(classes) <= {label for _, own in parts for label in own["classes"].numpy()}
    assert len(set(classes)) == len(classes), "none twice"
    again, same = mosaic(parts, 40, 56, *jitter, tf.constant([seed, 2]))
    np.testing.assert_array_equal(image, again)
    for key in objects:
        np.testing.assert_array_equal(objects[key], same[key])


@pytest.mark.parametrize("seed", range(6))
def test_boxes_stay_on_their_pixels_in_a_mosaic(seed: int) -> None:
    """One quadrant has white boxes on black, with their own classes; the others are black without boxes."""
    black = (tf.zeros([70, 90, 3], tf.uint8), NOTHING)
    for quarter in range(4):
        parts = [black] * 4
        parts[quarter] = (tf.constant(marked()), OBJECTS)
        image, objects = mosaic(parts, 96, 96, 1.0, 1.0, tf.constant([seed, quarter]))
        boxes, classes = objects["boxes"], objects["classes"]
        assert classes.numpy().tolist() == [1, 2]
        bright = image.numpy()[..., 0] > 2.0
        for top, left, bottom, right in np.round(boxes.numpy()).astype(int):
            inner = bright[top + 1 : bottom - 1, left + 1 : right - 1]
            assert inner.all()
            bright[max(0, top - 2) : bottom + 2, max(0, left - 2) : right + 2] = False
        assert not bright.any()
        middle = boxes.numpy()[:, :2] + boxes.numpy()[:, 2:]
        assert (middle[:, 0] > 48 if quarter in (2, 3) else middle[:, 0] < 144).all()
