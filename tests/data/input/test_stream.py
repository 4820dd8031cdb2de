"""Test the order of training images: an endless stream from any step, and the same stream divided into epochs."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from spinenet_tf.data.input.stream import endless_batches, epoch_batches


def counted(count: int, batch_size: int, **options) -> np.ndarray:
    """Return the (counter, index) of a shuffled stream `[steps, rows, 2]`."""
    batches = endless_batches(lambda *pair: tf.stack(pair), count, batch_size, seed=3, **options)
    return np.array([batch.numpy() for batch in batches.take(12)])


@pytest.mark.parametrize("start", range(10))
@pytest.mark.parametrize("options", [{}, {"share": (1, 2)}, {"share": (0, 2)}], ids=str)
def test_a_stream_from_any_step_is_the_whole_one_from_there_on(start: int, options: dict) -> None:
    whole, rest = counted(7, 2, **options), counted(7, 2, start_step=start, **options)
    np.testing.assert_array_equal(rest[: len(whole) - start], whole[start:])


def test_a_stream_begins_at_once_at_a_step_that_counting_would_take_years_to_reach() -> None:
    found = counted(7, 2, start_step=10**15)[:7].reshape(14, 2)
    np.testing.assert_array_equal(found[:, 0], 2 * 10**15 + np.arange(14))
    epoch, place = divmod(2 * 10**15, 7)
    orders = [
        tf.random.experimental.stateless_shuffle(tf.range(7, dtype=tf.int64), seed=tf.constant([3, number], tf.int64))
        for number in range(epoch, epoch + 3)
    ]
    np.testing.assert_array_equal(found[:, 1], np.concatenate(orders)[place : place + 14])


def epochs(batches: tf.data.Dataset, number: int) -> list[list[list[list[int]]]]:
    """Return the `(counter, index)` of the first iterations over the batches."""
    return [[batch.numpy().tolist() for batch in batches] for _ in range(number)]


def pairs(count: int, batch_size: int, seed: int = 3) -> tf.data.Dataset:
    return epoch_batches(lambda *pair: tf.stack(pair, axis=-1), count, batch_size, seed)


@pytest.mark.parametrize(("count", "batch_size", "steps"), [(7, 2, 3), (6, 3, 2), (3, 5, 1)])
def test_iterations_divide_the_endless_stream_into_epochs(count: int, batch_size: int, steps: int) -> None:
    batches = pairs(count, batch_size)
    assert int(batches.cardinality()) == steps
    found = epochs(batches, 4)
    assert [len(epoch) for epoch in found] == [steps] * 4
    endless = endless_batches(lambda *pair: tf.stack(pair, axis=-1), count, batch_size, seed=3)
    whole = [batch.numpy().tolist() for batch in endless.take(4 * steps)]
    assert [batch for epoch in found for batch in epoch] == whole


def test_every_iteration_has_another_order_which_the_seed_determines() -> None:
    orders = [[index for batch in epoch for _, index in batch] for epoch in epochs(pairs(12, 4), 5)]
    assert all(sorted(order) == list(range(12)) for order in orders)
    assert len(set(map(tuple, orders))) == 5
    assert epochs(pairs(12, 4), 2) == epochs(pairs(12, 4), 2) != epochs(pairs(12, 4, seed=4), 2)


def test_iterators_that_are_not_read_do_not_count() -> None:
    """Keras makes a second iterator at the end of each epoch, and never reads it."""
    batches, expected = pairs(12, 4), epochs(pairs(12, 4), 2)
    unread = [iter(batches) for _ in range(3)]
    assert epochs(batches, 2) == expected
    assert len(unread) == 3


def test_repetitions_are_further_epochs() -> None:
    repeated = [batch.numpy().tolist() for batch in pairs(12, 4).repeat(3)]
    assert repeated == [batch for epoch in epochs(pairs(12, 4), 3) for batch in epoch]


def test_an_endless_stream_says_so() -> None:
    stream = endless_batches(lambda *pair: tf.stack(pair), 7, 2, seed=3)
    assert stream.cardinality() == tf.data.INFINITE_CARDINALITY
