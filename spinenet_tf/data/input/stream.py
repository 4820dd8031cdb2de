"""Shuffle the images of a data set, map them to inputs, and batch them."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from spinenet_tf.ops.python_calls import numpy_function

TrainingInput = Callable[[tf.Tensor, tf.Tensor], tuple]  # (counter, index) -> an input and its targets


def endless_batches(
    example: TrainingInput, count: int, batch_size: int, seed: int, start_step: int = 0, share: tuple[int, int] = (0, 1)
) -> tf.data.Dataset:
    """Shuffle the indices 0..count - 1 anew in each epoch, map `(counter, index)` by `example`, and batch.

    All batches are full: a batch may hold the last images of one epoch and the first of the next. They depend only on
    the arguments, start at step `start_step`, and are reduced to the part `share` (number, count).

    Raises:
        ValueError: `batch_size` is not divisible by the number of parts.
    """
    if batch_size % share[1]:
        raise ValueError(f"`batch_size` must be divisible by the number of parts. Received: {batch_size=}, {share=}")
    own = batch_size // share[1]
    indices = _shuffled_indices(count, seed, tf.constant(start_step * batch_size, tf.int64))
    rows = slice(share[0] * own, (share[0] + 1) * own)
    return _mapped(_part_of_each(indices, batch_size, rows), example, own, tf.data.INFINITE_CARDINALITY)


def epoch_batches(example: TrainingInput, count: int, batch_size: int, seed: int) -> tf.data.Dataset:
    """Return the stream of `endless_batches`, divided into epochs: each iteration yields the batches of the next one.

    An epoch has `count // batch_size` batches, at least 1. A new call starts with the first epoch again.
    """
    steps, epochs = max(1, count // batch_size), itertools.count()
    images = steps * batch_size

    def indices(epoch: tf.Tensor) -> tf.data.Dataset:
        return _shuffled_indices(count, seed, epoch * images).take(images)

    # An iterator asks for its number only when it is read: `fit` makes more iterators than it reads.
    number = tf.data.Dataset.range(1).map(
        lambda _: tf.ensure_shape(numpy_function(lambda: np.int64(next(epochs)), [], tf.int64), [])
    )
    return _mapped(number.flat_map(indices), example, batch_size, steps)


def ordered_batches(example: Callable[[tf.Tensor], tuple], count: int, batch_size: int) -> tf.data.Dataset:
    """Map the indices 0..count - 1 by `example`, once and in order, and batch."""
    examples = tf.data.Dataset.range(count).map(example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return examples.batch(batch_size).prefetch(tf.data.AUTOTUNE)


def _mapped(indices: tf.data.Dataset, example: TrainingInput, batch_size: int, steps: int) -> tf.data.Dataset:
    inputs = indices.map(example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    batches = inputs.batch(batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)
    return batches.apply(tf.data.experimental.assert_cardinality(steps))


def _shuffled_indices(count: int, seed: int, first: tf.Tensor) -> tf.data.Dataset:
    """Yield `(counter, index)` starting at counter `first`, with a new permutation in each epoch."""

    def permutation(epoch: tf.Tensor) -> tf.data.Dataset:
        key = tf.stack([tf.constant(seed, tf.int64), epoch])
        order = tf.random.experimental.stateless_shuffle(tf.range(count, dtype=tf.int64), seed=key)
        return tf.data.Dataset.from_tensor_slices(order)

    epoch = first // count
    return tf.data.Dataset.counter(epoch).flat_map(permutation).enumerate(start=epoch * count).skip(first % count)


def _part_of_each(indices: tf.data.Dataset, batch_size: int, rows: slice) -> tf.data.Dataset:
    """Keep only `rows` of each batch, so that other processes decode the other images."""
    if rows == slice(0, batch_size):
        return indices
    batches = indices.batch(batch_size, drop_remainder=True)
    return batches.flat_map(lambda *batch: tf.data.Dataset.from_tensor_slices(tuple(each[rows] for each in batch)))
