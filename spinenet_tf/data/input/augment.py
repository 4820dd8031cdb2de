"""Augment an image and its objects randomly, with pure functions of a seed.

Objects are a dictionary of tensors with one row per object: "boxes" `[N, 4]` yxyx in pixels of the image and "classes"
`[N]`; for masks also "numbers" `[N]`, which mask it is, and "windows" `[N, 4]`, the part of the file's image that is
inside the box: yxyx in its pixels, with left and right exchanged if the image is mirrored.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from spinenet_tf.data.fitting import fit_scale, place

Objects = dict[str, tf.Tensor]
Part = tuple[tf.Tensor, Objects]  # an image and its objects

_MIRRORED = (0, 3, 2, 1)  # the sides of a box with left and right exchanged
_PADDING = {"classes": -1, "numbers": -1}  # 0 for the others


def random_flip(image: tf.Tensor, objects: Objects, seed: tf.Tensor) -> Part:
    """Flip `[h, w, 3]` and its objects left to right with probability 0.5."""
    width = tf.cast(tf.shape(image)[1], tf.float32)
    top, left, bottom, right = tf.unstack(objects["boxes"], axis=-1)
    mirrored = objects | {"boxes": tf.stack([top, width - right, bottom, width - left], axis=-1)}
    if "windows" in objects:
        mirrored["windows"] = tf.gather(objects["windows"], _MIRRORED, axis=-1)
    flip = tf.random.stateless_uniform([], seed) < 0.5
    return tf.cond(flip, lambda: (tf.reverse(image, [1]), mirrored), lambda: (image, objects))


def random_scale_crop(
    image: tf.Tensor,
    objects: Objects,
    height: int | tf.Tensor,
    width: int | tf.Tensor,
    scale_min: float,
    scale_max: float,
    seed: tf.Tensor,
) -> Part:
    """Resize a uint8 image by a random factor relative to its fitted size, crop, normalize and pad it.

    This is the paper's scale jitter, as in TF Model Garden's `resize_and_crop_image`: the factor is uniform in
    `scale_min`..`scale_max`, the crop position is uniform, and padding is at the bottom and right.
    Returns the `[height, width, 3]` float32 image and its M <= N objects: boxes are in its pixels, clipped, and those
    without any remaining area are removed.
    """
    draw = tf.random.stateless_uniform([3], seed)
    scale = fit_scale(image, height, width) * (scale_min + (scale_max - scale_min) * draw[0])
    scaled = tf.cast(tf.shape(image)[:2], tf.float32) * scale
    offset = draw[1:] * tf.maximum(scaled - tf.cast(tf.stack([height, width]), tf.float32), 0.0)
    moved = objects | {"boxes": objects["boxes"] * scale - tf.tile(offset, [2])}
    return place(image, scale, offset, height, width), _clip(moved, height, width)


def mosaic(parts: Sequence[Part], height: int, width: int, scale_min: float, scale_max: float, seed: tf.Tensor) -> Part:
    """Combine four images with their objects into a mosaic around a random center point (Bochkovskiy 2020).

    `random_scale_crop` fits each image to its quadrant. Returns the same as `random_scale_crop`, with the objects of
    all four images.
    """
    seeds = tf.random.split(seed, 5)
    middle = tf.random.stateless_uniform([2], seeds[4], 0.25, 0.75) * tf.constant([height, width], tf.float32)
    row, column = tf.unstack(tf.cast(middle, tf.int32))
    corners = ((0, 0), (0, column), (row, 0), (row, column))
    sizes = ((row, column), (row, width - column), (height - row, column), (height - row, width - column))
    images, found = [], []
    for part, (top, left), size, key in zip(parts, corners, sizes, tf.unstack(seeds[:4]), strict=True):
        image, objects = random_scale_crop(*part, *size, scale_min, scale_max, key)
        images.append(image)
        found.append(objects | {"boxes": objects["boxes"] + tf.cast(tf.stack([top, left, top, left]), tf.float32)})
    rows = [tf.concat(images[:2], axis=1), tf.concat(images[2:], axis=1)]
    whole = tf.ensure_shape(tf.concat(rows, axis=0), [height, width, 3])
    return whole, {key: tf.concat([objects[key] for objects in found], axis=0) for key in found[0]}


def _clip(objects: Objects, height: int | tf.Tensor, width: int | tf.Tensor) -> Objects:
    limit = tf.cast(tf.stack([height, width, height, width]), tf.float32)
    clipped = objects | {"boxes": tf.clip_by_value(objects["boxes"], 0.0, limit)}
    if "windows" in objects:
        clipped["windows"] = _part_of(objects["windows"], objects["boxes"], clipped["boxes"])
    left_over = tf.reduce_all(clipped["boxes"][:, 2:] > clipped["boxes"][:, :2], axis=-1)
    return {key: rows[left_over] for key, rows in clipped.items()}


def _part_of(windows: tf.Tensor, boxes: tf.Tensor, clipped: tf.Tensor) -> tf.Tensor:
    """Reduce windows, which are the insides of boxes, to the insides of the clipped boxes."""
    corner, size = tf.tile(boxes[:, :2], [1, 2]), tf.tile(boxes[:, 2:] - boxes[:, :2], [1, 2])
    begin, extent = tf.tile(windows[:, :2], [1, 2]), tf.tile(windows[:, 2:] - windows[:, :2], [1, 2])
    return begin + (clipped - corner) / size * extent


def padded(objects: Objects, rows: int) -> Objects:
    """Pad objects to `rows` rows, boxes with 0 and classes with -1, or keep only the first `rows`.

    Pad last: geometric transformations would turn padding into boxes.
    """

    def pad(values: tf.Tensor, filler: int) -> tf.Tensor:
        values = values[:rows]
        missing = [[0, rows - tf.shape(values)[0]], *[[0, 0]] * (values.shape.rank - 1)]
        return tf.ensure_shape(tf.pad(values, missing, constant_values=filler), [rows, *values.shape[1:]])

    return {key: pad(values, _PADDING.get(key, 0)) for key, values in objects.items()}
