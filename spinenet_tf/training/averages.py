"""Exponential moving averages of the weights: training updates the weights, evaluation uses the averages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
from keras import ops

from spinenet_tf.training.clock import Clock


class WeightAverages(keras.callbacks.Callback):
    """Average all weights over the updates, including the BN statistics, which Keras's `use_ema` leaves out.

    An average starts at the weight's value before training. With accumulated gradients, there is one update every
    `accumulate` batches.
    """

    def __init__(self, model: keras.Model, momentum: float, clock: Clock, accumulate: int = 1):
        super().__init__()
        self.momentum, self.clock, self.accumulate = momentum, clock, accumulate
        self.weights = [weight for weight in model.weights if keras.backend.is_float_dtype(weight.dtype)]
        self.variables = [
            keras.Variable(ops.convert_to_numpy(weight), dtype=weight.dtype, trainable=False, name="average")
            for weight in self.weights
        ]
        self._update = self._average
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            self._update = tf.function(self._average)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        assert self.model is not None  # on JAX, reading `self.model` copies the trained values into the weights
        if self.clock.step % self.accumulate == 0:
            self._update()

    @contextmanager
    def in_model(self) -> Iterator[None]:
        """Use the averages as the model's weights within the context."""
        trained = [ops.convert_to_numpy(weight).copy() for weight in self.weights]
        self.put_into_model()
        try:
            yield
        finally:
            for weight, value in zip(self.weights, trained, strict=True):
                weight.assign(value)

    def put_into_model(self) -> None:
        """Replace the model's weights with their averages."""
        for weight, average in zip(self.weights, self.variables, strict=True):
            # Assign a copy: on JAX, `predict` donates the model's arrays, which deletes them.
            weight.assign(ops.copy(average))

    def _average(self) -> None:
        for weight, average in zip(self.weights, self.variables, strict=True):
            average.assign(self.momentum * average + (1.0 - self.momentum) * weight)
