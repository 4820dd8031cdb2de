"""Change one image and its boxes at random; every function is a pure function of its seed."""

from __future__ import annotations

import tensorflow as tf

from spinenet_tf.data.images import fit_scale, place


def random_flip(image: tf.Tensor, boxes: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Mirror `[h, w, 3]` and its `[N, 4]` yxyx pixel boxes left to right, every second time."""
    width = tf.cast(tf.shape(image)[1], tf.float32)
    top, left, bottom, right = tf.unstack(boxes, axis=-1)
    mirrored = tf.stack([top, width - right, bottom, width - left], axis=-1)
    flip = tf.random.stateless_uniform([], seed) < 0.5
    return tf.cond(flip, lambda: (tf.reverse(image, [1]), mirrored), lambda: (image, boxes))


def random_scale_crop(
    image: tf.Tensor,
    boxes: tf.Tensor,
    classes: tf.Tensor,
    height: int,
    width: int,
    scale_min: float,
    scale_max: float,
    seed: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Resize a uint8 image by a random factor of its fitted size, crop what is too large, normalise, pad the rest.

    The scale jitter of the paper, as in TF Model Garden's `resize_and_crop_image`: the factor is uniform in
    `scale_min`..`scale_max`, the crop is anywhere in the image, padding is at the bottom and right.
    Returns the `[height, width, 3]` float32 image, boxes `[M, 4]` in its pixels, clipped, and classes `[M]`, with
    M <= N: a box of which nothing is left goes together with its class.
    """
    draw = tf.random.stateless_uniform([3], seed)
    scale = fit_scale(image, height, width) * (scale_min + (scale_max - scale_min) * draw[0])
    scaled = tf.cast(tf.shape(image)[:2], tf.float32) * scale
    offset = draw[1:] * tf.maximum(scaled - tf.constant([height, width], tf.float32), 0.0)
    boxes, classes = _clip(boxes * scale - tf.tile(offset, [2]), classes, height, width)
    return place(image, scale, offset, height, width), boxes, classes


def _clip(boxes: tf.Tensor, classes: tf.Tensor, height: int, width: int) -> tuple[tf.Tensor, tf.Tensor]:
    limit = tf.constant([height, width, height, width], tf.float32)
    boxes = tf.clip_by_value(boxes, 0.0, limit)
    left_over = tf.reduce_all(boxes[:, 2:] > boxes[:, :2], axis=-1)
    return boxes[left_over], classes[left_over]


def pad_boxes(boxes: tf.Tensor, classes: tf.Tensor, rows: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Bring `[N, 4]` boxes and `[N]` classes to `rows` rows, by boxes of 0 and classes of -1, or keep the first `rows`.

    Padding comes last in a pipeline: any change of geometry would make boxes of these rows.
    """
    boxes, classes = boxes[:rows], classes[:rows]
    missing = rows - tf.shape(classes)[0]
    boxes = tf.pad(boxes, [[0, missing], [0, 0]])
    classes = tf.pad(classes, [[0, missing]], constant_values=-1)
    return tf.ensure_shape(boxes, [rows, 4]), tf.ensure_shape(classes, [rows])
