"""Callbacks of a run: the JSON log, saving and early stopping."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import keras
from keras import ops

from spinenet_tf._files.writing import write_whole
from spinenet_tf.training.clock import Clock
from spinenet_tf.training.pace import Pace
from spinenet_tf.training.preemption import Preemption
from spinenet_tf.training.state import TrainingState


class JsonLog(keras.callbacks.Callback):
    """Write one JSON line per epoch: the epoch (from 1), the step, the seconds since the process started, the logs."""

    def __init__(self, path: Path, clock: Clock):
        super().__init__()
        self.path, self.clock, self.start = path, clock, time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        row: dict[str, Any] = {"epoch": epoch + 1, "step": self.clock.step}
        row |= {"seconds": round(time.monotonic() - self.start, 1)}
        row |= {name: float(value) for name, value in (logs or {}).items()}
        rows = self.path.read_text() if self.path.exists() else ""
        write_whole(self.path, rows + json.dumps(row) + "\n")  # all rows at once: a full disk leaves no partial line


class SaveBest(keras.callbacks.Callback):
    """Save the weights whenever `monitor` reaches a new best; `rows` of the log count too when a run is resumed."""

    def __init__(self, path: Path, rows: Iterable[Mapping[str, Any]] = (), monitor: str = "val_AP"):
        super().__init__()
        self.path, self.monitor = path, monitor
        self.best = max((row[monitor] for row in rows if monitor in row), default=-1.0)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        value = (logs or {}).get(self.monitor)
        if value is not None and value > self.best:
            self.best = value
            self.model.save_weights(self.path, include_optimizer=False)


class SaveLast(keras.callbacks.Callback):
    """Save the weights after an epoch, if the pace allows it, and at the end of the training."""

    def __init__(self, path: Path):
        super().__init__()
        self.path, self.pace, self.is_behind = path, Pace(), False

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.is_behind = True
        if self.pace.is_due():
            self._save()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        if self.is_behind:
            self._save()

    def _save(self) -> None:
        with self.pace.timed():
            self.model.save_weights(self.path, include_optimizer=False)
        self.is_behind = False


class EarlyStopping(keras.callbacks.Callback):
    """Stop after `patience` evaluations in a row without a new best `monitor`; `rows` of the log count too."""

    def __init__(self, monitor: str, patience: int | None, rows: Iterable[Mapping[str, Any]] = ()):
        super().__init__()
        self.monitor, self.patience = monitor, patience
        self.values = [row[monitor] for row in rows if monitor in row]

    def is_due(self) -> bool:
        """Return whether the best evaluation was at least `patience` evaluations ago."""
        if self.patience is None or not self.values:
            return False
        return len(self.values) - 1 - self.values.index(max(self.values)) >= self.patience

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        value = (logs or {}).get(self.monitor)
        if value is not None:
            self.values.append(value)
            self.model.stop_training = self.model.stop_training or self.is_due()


class SaveState(keras.callbacks.Callback):
    """Save the state every `every` steps, and after an epoch if the pace allows it. It must be the last callback.

    Call `finish` at the end of the training. An epoch that is resumed in the middle continues with its metrics.
    """

    def __init__(self, state: TrainingState, every: int, preemption: Preemption):
        super().__init__()
        self.state, self.every, self.preemption = state, every, preemption
        self.pace, self.is_behind = Pace(), False
        metrics = state.metrics if state.clock.batch else ()
        self.metrics = [(metric, ops.convert_to_numpy(metric).copy()) for metric in metrics]

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        for metric, value in self.metrics:  # `fit` has just reset them
            metric.assign(value)
        self.metrics = []

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.preemption.check()
        clock = self.state.clock
        if clock.step % self.every == 0 and clock.batch < clock.steps:
            self._save()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        clock = self.state.clock
        if clock.batch == clock.steps:  # otherwise a callback stopped the training within the epoch
            clock.set(epoch + 1, 0)
        self.is_behind = True
        if self.pace.is_due():
            self._save()
        self.preemption.check()

    def finish(self) -> None:
        """Save the state at the end of the training, unless the last epoch's is saved."""
        if self.is_behind:
            self._save()

    def _save(self) -> None:
        assert self.model is not None  # on JAX, reading `self.model` copies the trained values into the variables
        with self.pace.timed():
            self.state.save()
        self.is_behind = False
