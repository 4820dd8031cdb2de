"""Resize images of any size to a network's input, identically for training, evaluation and export."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache

import numpy as np
import tensorflow as tf

from spinenet_tf.data.images import normalize

STEPS = 32  # OpenCV's positions between two pixels


def preprocess(
    image: np.ndarray | tf.Tensor, height: int, width: int, stretch: bool = False
) -> tuple[tf.Tensor, tf.Tensor]:
    """Fit one `[h, w, 3]` uint8 image into the top left of the network's input, keeping its aspect ratio.

    With `stretch`, the image fills the input instead: see `stretched`. Returns the normalized `[height, width, 3]`
    float32 image and the `scale`; divide boxes in input pixels by it to get pixels of the file. It is a scalar, or
    `[2]`, of y and x, with `stretch`. Raises ValueError for anything but uint8 RGB.
    """
    image = _checked(image)
    if stretch:
        return normalize(stretched(image, height, width)), _scales(image, height, width)
    scale = fit_scale(image, height, width)
    return place(image, scale, tf.zeros(2), height, width), scale


def preprocess_many(
    images: Iterable[np.ndarray], height: int, width: int, stretch: bool = False
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the results of `preprocess` for images of any sizes: `[B, height, width, 3]` float32, and the scales.

    It runs as one graph per image, which other threads need not wait for: 1.3 times the images per second of
    `spinenet-tf predict` on two cores.
    """
    fit = _compiled(height, width, stretch)
    fitted, scales = zip(*(fit(_checked(image)) for image in images), strict=True)
    return np.stack([image.numpy() for image in fitted]), [scale.numpy() for scale in scales]


@cache
def _compiled(height: int, width: int, stretch: bool) -> Callable:
    spec = tf.TensorSpec([None, None, 3], tf.uint8)
    return tf.function(lambda image: preprocess(image, height, width, stretch), [spec], autograph=False)


def _checked(image: np.ndarray | tf.Tensor) -> tf.Tensor:
    image = tf.convert_to_tensor(image)
    if image.dtype != tf.uint8 or image.shape.rank != 3 or image.shape[-1] != 3:
        raise ValueError(
            f"An image must be uint8 [height, width, 3]. Received: shape={image.shape}, dtype={image.dtype}"
        )
    return image


def stretched(image: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Resize `[h, w, 3]` uint8 to `[height, width, 3]` uint8 without keeping the aspect ratio, as MediaPipe Tasks do.

    Row i is interpolated at i * h / height and column j at j * w / width, rounded to 1 / 32 pixel, without half-pixel
    centers and without anti-aliasing: OpenCV's `warpPerspective` from the corners of the image to those of the input.
    Values are rounded half up. Where a position lies exactly between two 32nds, OpenCV may take the other one.
    """
    image = tf.cast(image, tf.int32)
    for axis, side in enumerate((height, width)):
        first, second, part = _between(tf.shape(image)[axis], side)
        part = tf.reshape(part, [side, 1, 1] if axis == 0 else [side, 1])
        image = (STEPS - part) * tf.gather(image, first, axis=axis) + part * tf.gather(image, second, axis=axis)
    return tf.cast((image + STEPS**2 // 2) // STEPS**2, tf.uint8)


def _between(size: tf.Tensor, side: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return which two of `size` pixels each of `side` positions is between, and how far from the first, in steps."""
    position = tf.range(side, dtype=tf.float64) * tf.cast(size, tf.float64) / side * STEPS
    position = tf.cast(tf.round(position), tf.int32)
    first = position // STEPS
    return tf.minimum(first, size - 1), tf.minimum(first + 1, size - 1), position % STEPS


def fit_scale(image: tf.Tensor, height: int | tf.Tensor, width: int | tf.Tensor) -> tf.Tensor:
    """Return the largest scale at which `[h, w, 3]` fits into `height` x `width` pixels."""
    return tf.reduce_min(_scales(image, height, width))


def _scales(image: tf.Tensor, height: int | tf.Tensor, width: int | tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.stack([height, width]), tf.float32) / tf.cast(tf.shape(image)[:2], tf.float32)


def place(
    image: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, height: int | tf.Tensor, width: int | tf.Tensor
) -> tf.Tensor:
    """Resize `[h, w, 3]` uint8 by `scale`, crop at `offset`, normalize, and zero pad at the bottom and right.

    `offset` is y, x in pixels of the result. A point `p` of the file maps exactly to `p * scale - offset`: the
    resize is bilinear at the real scale, not at a size rounded to whole pixels. Returns `[height, width, 3]` float32.
    """
    # Compute only pixels that the image covers. A pixel center exactly on the edge counts as padding, since rounding
    # decides whether the resize covers it.
    end = tf.cast(tf.shape(image)[:2], tf.float32) * scale - offset
    covered = tf.cast(tf.math.ceil(end - 1e-3 - 0.5), tf.int32)
    covered = tf.clip_by_value(covered, 1, tf.stack([height, width]))
    resized = tf.raw_ops.ScaleAndTranslate(
        images=image[None],
        size=covered,
        scale=tf.stack([scale, scale]),
        translation=-offset,
        kernel_type="triangle",
        antialias=False,  # as published
    )[0]
    missing = tf.stack([height, width]) - covered
    padded = tf.pad(normalize(resized), [[0, missing[0]], [0, missing[1]], [0, 0]])
    sides = [side if isinstance(side, int) else None for side in (height, width)]
    return tf.ensure_shape(padded, [*sides, 3])
