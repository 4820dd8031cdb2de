"""Call all callbacks of a training as one `fit` does, although a resumed training may call `fit` twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import keras

from spinenet_tf.training.averages import AverageWeights
from spinenet_tf.training.clock import Clock
from spinenet_tf.training.processes import in_any

AFTER_A_STEP = ("on_train_batch_begin", "on_train_batch_end", "on_epoch_end")


class Group(keras.callbacks.Callback):
    """Forward the calls of a training to several callbacks; those at the end of an epoch inside `contexts`."""

    def __init__(
        self, callbacks: Sequence[keras.callbacks.Callback], *contexts: Callable[[], AbstractContextManager[None]]
    ):
        super().__init__()
        self.callbacks, self.contexts = callbacks, contexts

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        self._call("set_model", model)

    def set_params(self, params: dict[str, Any]) -> None:
        super().set_params(params)
        self._call("set_params", params)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._call("on_train_begin", logs)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self._call("on_train_end", logs)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._call("on_epoch_begin", epoch, logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        with ExitStack() as stack:
            for context in self.contexts:
                stack.enter_context(context())
            self._call("on_epoch_end", epoch, logs)

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._call("on_train_batch_begin", batch, logs)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._call("on_train_batch_end", batch, logs)

    def _call(self, event: str, *arguments: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(*arguments)


class UserCallbacks(Group):
    """The callbacks that the user passed. `failed` tells whether one raised when there was a state to save."""

    failed = False

    def _call(self, event: str, *arguments: Any) -> None:
        try:
            super()._call(event, *arguments)
        except Exception:
            self.failed = event in AFTER_A_STEP
            raise


class StopTogether(keras.callbacks.Callback):
    """Stop all processes if a callback of one sets `model.stop_training`: the others would wait for it forever.

    The last epoch is measured, also if `evaluate_every` does not select it.
    """

    def __init__(self, model: keras.Model, measured: Group, monitor: str):
        super().__init__()
        self.trained, self.measured, self.monitor = model, measured, monitor

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.trained.stop_training = in_any(self.trained.stop_training)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.trained.stop_training = in_any(self.trained.stop_training)
        if self.trained.stop_training and self.monitor not in (logs or {}):
            self.measured.on_epoch_end(epoch, logs)


class OneFit(keras.callbacks.CallbackList):
    """The callbacks of a whole training. If it was stopped within an epoch, a first `fit` finishes that epoch.

    `on_train_begin` and `on_train_end` are called once. The number of a batch counts from the start of its epoch, and
    `params` are those of the whole training. Keras's progress bar and history are added.
    """

    def __init__(
        self,
        callbacks: Sequence[keras.callbacks.Callback],
        model: keras.Model,
        clock: Clock,
        epochs: int,
        verbose: str | int,
    ):
        params = {"verbose": verbose, "epochs": epochs, "steps": clock.steps}
        super().__init__([clock, *callbacks], add_history=True, add_progbar=verbose != 0, model=model, **params)
        self.clock, self.began = clock, False
        self.logs: dict[str, Any] | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        if not self.began:
            self.began = True
            super().on_train_begin(logs)

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        super().on_train_batch_begin(self.clock.batch, logs)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        super().on_train_batch_end(self.clock.batch, logs)  # the clock, called first, counts this batch

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self.logs = logs  # a `fit` ends, but perhaps not the training

    def end(self) -> None:
        """Call `on_train_end`, unless there was nothing to train."""
        if self.began:
            super().on_train_end(self.logs)


def checked(callbacks: Any) -> list[keras.callbacks.Callback]:
    """Return the callbacks that a user passed, one or nested lists of them as in Keras.

    Raises:
        TypeError: one is not an instance of `keras.callbacks.Callback`.
        ValueError: one is `BackupAndRestore` or `AverageWeights`: a run has its own state and averages.
    """
    flat = [] if callbacks is None else keras.tree.flatten(callbacks)
    for callback in flat:
        if not isinstance(callback, keras.callbacks.Callback):
            raise TypeError(f"A callback must be an instance of keras.callbacks.Callback. Received: {callback!r}")
        if isinstance(callback, keras.callbacks.BackupAndRestore):
            raise ValueError("A run saves and restores its own state: pass resume=True instead of BackupAndRestore.")
        if isinstance(callback, AverageWeights):
            raise ValueError("A run has its own averages: set optimizer.ema in the config instead of AverageWeights.")
    return flat
