"""Read and augment the training inputs of a detector, each with its own seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import tensorflow as tf

from spinenet_tf.data.augmentation import Augment
from spinenet_tf.data.input.augment import Objects, Part, mosaic, padded, random_flip, random_scale_crop
from spinenet_tf.data.input.colors import recolor
from spinenet_tf.ops.python_calls import numpy_function


@dataclass(frozen=True)
class Augmenter:
    """The augmentation of training images. `read` maps an index in 0..count - 1 to an image with its objects.

    `targets` maps padded objects to what a detector is trained on.
    """

    read: Callable[[tf.Tensor], Part]
    count: int
    image_size: tuple[int, int]
    seed: int
    augment: Augment
    max_boxes: int
    targets: Callable[[Objects], Objects]

    def example(self, counter: tf.Tensor, index: tf.Tensor) -> Part:
        """Return input number `counter`: `[H, W, 3]` float32, with targets padded to `max_boxes`."""
        seeds = tf.random.split(tf.stack([tf.constant(self.seed, tf.int64), counter]), 5)

        def one() -> Part:
            part = self._upright(index, seeds[0], seeds[2])
            return random_scale_crop(*part, *self.image_size, *self.augment.scale, seeds[1])

        if self.augment.mosaic:
            joins = tf.random.stateless_uniform([], seeds[3]) < self.augment.mosaic
            image, objects = tf.cond(joins, lambda: self._four(index, seeds[4]), one)
        else:
            image, objects = one()
        return image, self.targets(padded(objects, self.max_boxes))

    def _upright(self, index: tf.Tensor, flip_seed: tf.Tensor, color_seed: tf.Tensor) -> Part:
        image, objects = self.read(index)
        image = recolored(image, self.augment, color_seed)
        if self.augment.flip:
            image, objects = random_flip(image, objects, flip_seed)
        return image, objects

    def _four(self, index: tf.Tensor, seed: tf.Tensor) -> Part:
        seeds = tf.random.split(seed, 10)
        others = tf.random.stateless_uniform([3], seeds[8], maxval=self.count, dtype=tf.int64)
        indices = tf.unstack(tf.concat([index[None], others], axis=0))
        parts = [self._upright(each, seeds[2 * i], seeds[2 * i + 1]) for i, each in enumerate(indices)]
        return mosaic(parts, *self.image_size, *self.augment.scale, seeds[9])


def recolored(image: tf.Tensor, augment: Augment, seed: tf.Tensor) -> tf.Tensor:
    """Augment the colors of `[h, w, 3]` uint8 as a graph operation."""
    if not augment.changes_colors:
        return image
    return tf.ensure_shape(numpy_function(partial(recolor, augment=augment), [image, seed], tf.uint8), [None, None, 3])
