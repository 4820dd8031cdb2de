"""Averages of all weights are updated after each step, and are in the model only within the context."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from spinenet_tf.training.averages import AverageWeights, UpdateAverages, WeightAverages
from spinenet_tf.training.clock import Clock


def values(variables) -> list[np.ndarray]:
    return [np.array(variable.value) for variable in variables]


def train(accumulate: int) -> tuple[WeightAverages, list[list[np.ndarray]]]:
    """Train four steps; return the averages, and the weights before the first step and after each step."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.BatchNormalization()])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    clock, history = Clock(steps=4), [values(model.weights)]
    averages = WeightAverages(model, 0.75)
    update = UpdateAverages(averages, clock, accumulate)
    note = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: history.append(values(model.weights)))
    inputs = np.random.default_rng(0).normal(size=(16, 3))
    model.fit(inputs, inputs[:, :2], batch_size=4, verbose=0, callbacks=[clock, update, note])
    return averages, history


def check(averages: WeightAverages, history: list[list[np.ndarray]], every: int) -> None:
    expected = history[0]
    for weights in history[every::every]:
        expected = [0.75 * mean + 0.25 * weight for mean, weight in zip(expected, weights, strict=True)]
    for mine, other in zip(values(averages.variables), expected, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-7)


def test_all_weights_are_averaged_after_each_update_statistics_too() -> None:
    averages, history = train(accumulate=1)
    assert [weight.name for weight in averages.weights][-2:] == ["moving_mean", "moving_variance"]
    check(averages, history, every=1)


def test_with_accumulated_gradients_an_update_is_several_batches() -> None:
    check(*train(accumulate=2), every=2)


def test_the_model_has_its_averages_for_a_while_also_when_that_fails() -> None:
    averages, history = train(accumulate=1)
    means = values(averages.variables)
    try:
        with averages.in_model():
            for mine, other in zip(values(averages.weights), means, strict=True):
                np.testing.assert_array_equal(mine, other)
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    for mine, other in zip(values(averages.weights), history[-1], strict=True):
        np.testing.assert_array_equal(mine, other)


def test_the_callback_for_fit_gives_evaluation_the_averages_and_training_its_weights() -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.BatchNormalization()])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    steps, ends, starts = [values(model.weights)], [], []
    average = AverageWeights(0.75)
    note = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: starts.append(values(model.weights)),
        on_train_batch_end=lambda batch, logs: steps.append(values(model.weights)),
        on_epoch_end=lambda epoch, logs: ends.append(values(model.weights)),
    )
    inputs = np.random.default_rng(0).normal(size=(8, 3))
    model.fit(inputs, inputs[:, :2], batch_size=4, epochs=2, verbose=0, callbacks=[average, note])
    expected = steps[0]
    for number, weights in enumerate(steps[1:], start=1):
        expected = [0.75 * mean + 0.25 * weight for mean, weight in zip(expected, weights, strict=True)]
        if number % 2 == 0:
            for mine, other in zip(ends[number // 2 - 1], expected, strict=True):
                np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-7)
    for mine, other in zip(starts[1], steps[2], strict=True):
        np.testing.assert_array_equal(mine, other)
    for mine, other in zip(values(model.weights), ends[-1], strict=True):
        np.testing.assert_array_equal(mine, other)


def test_the_momentum_of_the_callback_is_between_0_and_1() -> None:
    for momentum in (0, 1, 1.5):
        with pytest.raises(ValueError, match="`momentum` must be between 0 and 1"):
            AverageWeights(momentum)
