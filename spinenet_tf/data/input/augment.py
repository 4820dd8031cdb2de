"""Augment an image and its boxes randomly, with pure functions of a seed."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from spinenet_tf.data.fitting import fit_scale, place


def random_flip(image: tf.Tensor, boxes: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Flip `[h, w, 3]` and its `[N, 4]` yxyx pixel boxes left to right with probability 0.5."""
    width = tf.cast(tf.shape(image)[1], tf.float32)
    top, left, bottom, right = tf.unstack(boxes, axis=-1)
    mirrored = tf.stack([top, width - right, bottom, width - left], axis=-1)
    flip = tf.random.stateless_uniform([], seed) < 0.5
    return tf.cond(flip, lambda: (tf.reverse(image, [1]), mirrored), lambda: (image, boxes))


def random_scale_crop(
    image: tf.Tensor,
    boxes: tf.Tensor,
    classes: tf.Tensor,
    height: int | tf.Tensor,
    width: int | tf.Tensor,
    scale_min: float,
    scale_max: float,
    seed: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Resize a uint8 image by a random factor relative to its fitted size, crop, normalize and pad it.

    This is the paper's scale jitter, as in TF Model Garden's `resize_and_crop_image`: the factor is uniform in
    `scale_min`..`scale_max`, the crop position is uniform, and padding is at the bottom and right.
    Returns the `[height, width, 3]` float32 image, boxes `[M, 4]` in its pixels, clipped, and classes `[M]`. Boxes
    without any remaining area are removed, so M <= N.
    """
    draw = tf.random.stateless_uniform([3], seed)
    scale = fit_scale(image, height, width) * (scale_min + (scale_max - scale_min) * draw[0])
    scaled = tf.cast(tf.shape(image)[:2], tf.float32) * scale
    offset = draw[1:] * tf.maximum(scaled - tf.cast(tf.stack([height, width]), tf.float32), 0.0)
    boxes, classes = _clip(boxes * scale - tf.tile(offset, [2]), classes, height, width)
    return place(image, scale, offset, height, width), boxes, classes


def mosaic(
    parts: Sequence[tuple[tf.Tensor, tf.Tensor, tf.Tensor]],
    height: int,
    width: int,
    scale_min: float,
    scale_max: float,
    seed: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Combine four `(image, boxes, classes)` into a mosaic around a random center point (Bochkovskiy 2020).

    `random_scale_crop` fits each image to its quadrant. Returns the same as `random_scale_crop`, with the boxes of all
    four images.
    """
    seeds = tf.random.split(seed, 5)
    middle = tf.random.stateless_uniform([2], seeds[4], 0.25, 0.75) * tf.constant([height, width], tf.float32)
    row, column = tf.unstack(tf.cast(middle, tf.int32))
    corners = ((0, 0), (0, column), (row, 0), (row, column))
    sizes = ((row, column), (row, width - column), (height - row, column), (height - row, width - column))
    images, boxes, classes = [], [], []
    for part, (top, left), size, key in zip(parts, corners, sizes, tf.unstack(seeds[:4]), strict=True):
        image, moved, kept = random_scale_crop(*part, *size, scale_min, scale_max, key)
        images.append(image)
        boxes.append(moved + tf.cast(tf.stack([top, left, top, left]), tf.float32))
        classes.append(kept)
    rows = [tf.concat(images[:2], axis=1), tf.concat(images[2:], axis=1)]
    whole = tf.ensure_shape(tf.concat(rows, axis=0), [height, width, 3])
    return whole, tf.concat(boxes, axis=0), tf.concat(classes, axis=0)


def _clip(
    boxes: tf.Tensor, classes: tf.Tensor, height: int | tf.Tensor, width: int | tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    limit = tf.cast(tf.stack([height, width, height, width]), tf.float32)
    boxes = tf.clip_by_value(boxes, 0.0, limit)
    left_over = tf.reduce_all(boxes[:, 2:] > boxes[:, :2], axis=-1)
    return boxes[left_over], classes[left_over]


def pad_boxes(boxes: tf.Tensor, classes: tf.Tensor, rows: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Pad `[N, 4]` boxes with 0 and `[N]` classes with -1 to `rows` rows, or keep only the first `rows`.

    Pad last: geometric transformations would turn padding into boxes.
    """
    boxes, classes = boxes[:rows], classes[:rows]
    missing = rows - tf.shape(classes)[0]
    boxes = tf.pad(boxes, [[0, missing], [0, 0]])
    classes = tf.pad(classes, [[0, missing]], constant_values=-1)
    return tf.ensure_shape(boxes, [rows, 4]), tf.ensure_shape(classes, [rows])
