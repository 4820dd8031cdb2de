"""Exponential moving averages of the weights: training updates the weights, evaluation uses the averages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from keras import ops

from spinenet_tf.training.clock import Clock


class WeightAverages:
    """The averages of all weights, including the BN statistics, which Keras's `use_ema` leaves out.

    An average starts at the weight's value before training.
    """

    def __init__(self, model: keras.Model, momentum: float):
        self.momentum = momentum
        self.weights = [weight for weight in model.weights if keras.backend.is_float_dtype(weight.dtype)]
        self.variables = [
            keras.Variable(ops.convert_to_numpy(weight), dtype=weight.dtype, trainable=False, name="average")
            for weight in self.weights
        ]
        self.update = self._update
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            self.update = tf.function(self._update, autograph=False)

    @contextmanager
    def in_model(self) -> Iterator[None]:
        """Use the averages as the model's weights within the context."""
        trained = self.put_into_model()
        try:
            yield
        finally:
            self.put_back(trained)

    def put_into_model(self) -> list[np.ndarray]:
        """Replace the model's weights with their averages, and return the weights."""
        trained = [ops.convert_to_numpy(weight).copy() for weight in self.weights]
        for weight, average in zip(self.weights, self.variables, strict=True):
            # Assign a copy: on JAX, `predict` donates the model's arrays, which deletes them.
            weight.assign(ops.copy(average))
        return trained

    def put_back(self, trained: list[np.ndarray]) -> None:
        """Set the model's weights to those that `put_into_model` returned."""
        for weight, value in zip(self.weights, trained, strict=True):
            weight.assign(value)

    def _update(self) -> None:
        for weight, average in zip(self.weights, self.variables, strict=True):
            average.assign(self.momentum * average + (1.0 - self.momentum) * weight)


class UpdateAverages(keras.callbacks.Callback):
    """Update the averages after each update of a run's weights: one every `accumulate` batches."""

    def __init__(self, averages: WeightAverages, clock: Clock, accumulate: int = 1):
        super().__init__()
        self.averages, self.clock, self.accumulate = averages, clock, accumulate

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        assert self.model is not None  # on JAX, reading `self.model` copies the trained values into the weights
        if self.clock.step % self.accumulate == 0:
            self.averages.update()


class AverageWeights(keras.callbacks.Callback):
    """Average the weights over the updates of `fit`, and use the averages from the end of each epoch to the next.

    All weights are averaged, including the BN statistics, which Keras's `use_ema` and `SwapEMAWeights` leave out. Put
    it before the callbacks that evaluate or save: they see the averages. After `fit`, the model has the averages.

        callbacks = [AverageWeights(0.999), Evaluate(data), keras.callbacks.ModelCheckpoint("last.keras")]
        detector.fit(batches, epochs=100, callbacks=callbacks)

    Each `fit` starts the averages anew, at the weights that it finds. `spinenet_tf.train` has its own averages, which a
    resumed run continues: set `optimizer.ema` in the config.

    Args:
        momentum: the part of an average that stays in an update; 1 / (1 - momentum) updates count.

    Raises:
        ValueError: `momentum` is not between 0 and 1.
    """

    def __init__(self, momentum: float = 0.9998):
        super().__init__()
        if not 0 < momentum < 1:
            raise ValueError(f"`momentum` must be between 0 and 1. Received: {momentum=}")
        self.momentum = momentum

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Start the averages at the weights of the model."""
        self.averages, self.batches = WeightAverages(self.model, self.momentum), 0
        self.accumulate = getattr(self.model.optimizer, "gradient_accumulation_steps", None) or 1
        self.trained: list[np.ndarray] | None = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Continue with the trained weights."""
        if self.trained is not None:
            self.averages.put_back(self.trained)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Update the averages."""
        assert self.model is not None  # as in `UpdateAverages`
        self.batches += 1
        if self.batches % self.accumulate == 0:
            self.averages.update()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Put the averages into the model."""
        self.trained = self.averages.put_into_model()
