"""Test that encoded masks have the pixels, areas and boxes of COCO's tools, and crops of TensorFlow."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as oracle

from spinenet_tf.data.masks import Mask, PolygonMask, RunLengthMask
from spinenet_tf.data.run_lengths import decompressed


def blobs(seed: int, height: int, width: int) -> np.ndarray:
    """Return a random mask `[height, width]` of a few rectangles; it may be empty or full."""
    rng, pixels = np.random.default_rng(seed), np.zeros((height, width), bool)
    for _ in range(rng.integers(4)):
        (top, bottom), (left, right) = (np.sort(rng.integers(side + 1, size=2)) for side in pixels.shape)
        pixels[top:bottom, left:right] ^= True
    return pixels


def polygons(seed: int, height: int, width: int) -> tuple[np.ndarray, ...]:
    """Return random polygons, some of whose points are outside of the image."""
    rng = np.random.default_rng(seed)
    shapes = [(rng.integers(3, 12), 2) for _ in range(rng.integers(1, 4))]
    return tuple((rng.uniform(-0.3, 1.3, shape) * [width, height]).round(2).ravel() for shape in shapes)


def assert_measures(mask: Mask, pixels: np.ndarray) -> None:
    ys, xs = np.nonzero(pixels)
    np.testing.assert_array_equal(mask.decode(), pixels)
    assert mask.area == len(xs)
    assert mask.box == ((ys.min(), xs.min(), ys.max() + 1, xs.max() + 1) if len(xs) else (0, 0, 0, 0))


@settings(max_examples=200)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40))
def test_run_lengths_are_those_of_pycocotools(seed: int, height: int, width: int) -> None:
    pixels = blobs(seed, height, width)
    mask, expected = RunLengthMask.of(pixels), oracle.encode(np.asfortranarray(pixels, np.uint8))
    assert mask.rle() == {"size": [height, width], "counts": expected["counts"].decode()}
    assert_measures(mask, pixels)
    again = RunLengthMask.of_runs(mask.runs().tolist(), height, width)
    assert again.rle() == mask.rle()


@settings(max_examples=200)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(1, 60))
def test_polygons_are_drawn_as_pycocotools_does(seed: int, height: int, width: int) -> None:
    points = polygons(seed, height, width)
    rle = oracle.merge(oracle.frPyObjects([each.tolist() for each in points], height, width))
    mask = PolygonMask(height, width, points)
    assert mask.counts() == rle["counts"]
    assert_measures(mask, oracle.decode(rle).astype(bool))


@settings(max_examples=200)
@given(st.integers(0, 2**32 - 1), st.integers(2, 50), st.integers(2, 50), st.sampled_from([2, 7, 28, 112]))
def test_crops_are_those_of_tensorflow(seed: int, height: int, width: int, size: int) -> None:
    rng, pixels = np.random.default_rng(seed), blobs(seed, height, width)
    (top, bottom), (left, right) = (np.sort(rng.uniform(0, side, 2)) for side in (height, width))
    left, right = (left, right) if rng.random() < 0.5 else (right, left)
    box = np.array([[top / height, left / width, bottom / height, right / width]], np.float32)
    image = tf.constant(pixels[None, ..., None], tf.float32)
    expected = tf.image.crop_and_resize(image, box, [0], [size, size])[0, ..., 0]
    found = RunLengthMask.of(pixels).crop((top, left, bottom, right), size)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_the_whole_image_is_cropped_without_a_dark_edge() -> None:
    """Rounding in `tf.image.crop_and_resize` may place the last row outside of the image, where it reads 0."""
    for side in range(2, 60):
        assert RunLengthMask.of(np.ones((side, side), bool)).crop((0, 0, side, side), 112).min() == 1.0


def test_a_crop_with_left_and_right_exchanged_is_the_crop_of_the_mirrored_image() -> None:
    pixels = blobs(5, 30, 40)
    assert pixels.any()
    mirrored = RunLengthMask.of(pixels[:, ::-1]).crop((3, 40 - 27.5, 21, 40 - 4), 56)
    np.testing.assert_allclose(RunLengthMask.of(pixels).crop((3, 27.5, 21, 4), 56), mirrored, atol=1e-5)


@pytest.mark.parametrize("text", [b"0`", b"\x20", b"o" * 7 + b"0", b"p"])
def test_text_that_is_not_compressed_run_lengths_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match="run length"):
        decompressed(text)
