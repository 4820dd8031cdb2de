"""Images are resized to a network's input exactly as documented, and points are where the scale says."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from spinenet_tf.data.fitting import place, preprocess, preprocess_many, stretched
from spinenet_tf.data.images import normalize
from spinenet_tf.ops.pixels import MEAN, STD


def picture(height: int, width: int) -> np.ndarray:
    """Return a smooth `[H, W, 3]` uint8 image in which every corner differs."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    return (255 * np.stack([y, x, (1 - y) * (1 - x)], axis=-1)).astype(np.uint8)


@pytest.mark.parametrize(("size", "target", "scale"), [((50, 100), (64, 64), 0.64), ((30, 20), (64, 96), 32 / 15)])
def test_an_image_is_fitted_by_its_limiting_side(size, target, scale) -> None:
    image, found = preprocess(picture(*size), *target)
    assert float(found) == pytest.approx(scale)
    assert (image.shape, image.dtype) == ((*target, 3), tf.float32)


def test_padding_is_zero_after_normalizing_and_the_content_is_the_bilinear_resize() -> None:
    image, _ = preprocess(picture(50, 100), 64, 64)
    assert not np.any(image[32:])
    expected = normalize(tf.image.resize(picture(50, 100), (32, 64)))
    np.testing.assert_allclose(image[:32], expected, atol=1e-5)


@pytest.mark.parametrize("size", [(37, 100), (101, 33), (64, 64), (1, 90), (300, 4), (33, 47)])
def test_no_dark_edge_appears_between_content_and_padding(size: tuple[int, int]) -> None:
    white = np.full((*size, 3), 255, np.uint8)
    image, scale = preprocess(white, 64, 64)
    value = normalize(white[0, 0]).numpy()
    covered = np.abs(image.numpy()).sum(axis=-1) > 0
    np.testing.assert_allclose(image.numpy()[covered], np.tile(value, (covered.sum(), 1)), atol=1e-4)
    assert covered.sum(axis=0).max() == pytest.approx(size[0] * float(scale), abs=0.51)
    assert covered.sum(axis=1).max() == pytest.approx(size[1] * float(scale), abs=0.51)


def test_a_point_lands_where_scale_and_offset_say() -> None:
    y, x = np.mgrid[0:90, 0:70]
    image = np.stack([y * 2, x * 3, y * 0], axis=-1).astype(np.uint8)
    placed = place(tf.constant(image), tf.constant(0.77), tf.constant([5.3, 2.9]), 40, 32)
    pixels = placed.numpy() * STD * 255 + np.array(MEAN) * 255
    rows, columns = np.mgrid[0:40, 0:32]
    np.testing.assert_allclose(pixels[..., 0], 2 * ((rows + 0.5 + 5.3) / 0.77 - 0.5), atol=1e-2)
    np.testing.assert_allclose(pixels[..., 1], 3 * ((columns + 0.5 + 2.9) / 0.77 - 0.5), atol=1e-2)


@pytest.mark.parametrize(
    "image", [np.zeros((8, 8, 3), np.float32), np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8)]
)
def test_anything_but_uint8_rgb_is_refused(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"An image must be uint8 \[height, width, 3\]. Received: shape="):
        preprocess(image, 32, 32)


@pytest.mark.parametrize("size", [(90, 61), (20, 33), (64, 48), (1, 1), (1, 5000)])
def test_a_stretched_pixel_is_interpolated_at_its_index_times_the_scale(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    y, x = (np.round(np.arange(side) * whole / side * 32) / 32 for side, whole in zip((64, 48), size, strict=True))
    expected = np.floor(between(between(image, y, axis=0), x, axis=1) + 0.5)
    np.testing.assert_array_equal(stretched(image, 64, 48), expected)
    pixels, scale = preprocess(image, 64, 48, stretch=True)
    np.testing.assert_array_equal(pixels, normalize(expected))
    np.testing.assert_allclose(scale, [64 / size[0], 48 / size[1]], rtol=1e-6)


def between(image: np.ndarray, places: np.ndarray, axis: int) -> np.ndarray:
    """Interpolate an image linearly at places along an axis; beyond its end, pixels are those of its end."""
    index = np.arange(image.shape[axis])
    return np.apply_along_axis(lambda values: np.interp(places, index, values), axis, image)


@pytest.mark.parametrize("stretch", [False, True])
def test_many_images_are_fitted_as_one(stretch: bool) -> None:
    images = [picture(50, 100), picture(31, 7), picture(200, 90)]
    found, scales = preprocess_many(images, 64, 48, stretch)
    for image, pixels, scale in zip(images, found, scales, strict=True):
        one, known = preprocess(image, 64, 48, stretch)
        np.testing.assert_array_equal(pixels, one)
        np.testing.assert_array_equal(scale, known)
    with pytest.raises(ValueError, match=r"An image must be uint8 \[height, width, 3\]"):
        preprocess_many([np.zeros((4, 4, 3))], 64, 48)
