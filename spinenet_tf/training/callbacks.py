"""Callbacks of a training: evaluation, the JSON log, saving and early stopping."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from itertools import chain
from pathlib import Path
from typing import Any

import keras
from keras import ops

from spinenet_tf._files.writing import write_whole
from spinenet_tf.data.bad_images import BadImages
from spinenet_tf.data.dataset import ClassificationDataset, DetectionDataset
from spinenet_tf.drawing.boxes import contact_sheet
from spinenet_tf.tasks import Task
from spinenet_tf.training.clock import Clock
from spinenet_tf.training.preemption import Preemption
from spinenet_tf.training.state import TrainingState


class Evaluation(keras.callbacks.Callback):
    """Log a task's metrics on a data set, such as `val_AP`, after every `every` epochs and after the last epoch.

    `options` are passed to the task's `evaluation_batches`.
    """

    def __init__(
        self,
        task: Task[Any],
        dataset: DetectionDataset | ClassificationDataset,
        image_size: tuple[int, int],
        batch_size: int,
        every: int,
        **options: Any,
    ):
        super().__init__()
        self.task, self.dataset, self.every = task, dataset, every
        self.options = {"image_size": image_size, "batch_size": batch_size, **options}

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if (epoch + 1) % self.every and epoch + 1 != self.params["epochs"]:
            return
        known = {"class_names": self.dataset.class_names, **self.options}
        numbers = self.task.measure(self.model.predict_on_batch, self.dataset, **known).to_log()
        # Each data set that was read leaves a graph of 0.1 MB in a reference cycle, which Python collects late.
        gc.collect()
        if logs is not None:
            logs.update({f"val_{name}": number for name, number in numbers.items()})


class Pictures(keras.callbacks.Callback):
    """Show some images in TensorBoard after each evaluation: ground truth on the left, predictions on the right."""

    def __init__(
        self,
        task: Task[Any],
        dataset: DetectionDataset | ClassificationDataset,
        image_size: tuple[int, int],
        events: Path,
        count: int,
    ):
        super().__init__()
        self.task, self.dataset, self.image_size = task, dataset, image_size
        self.events, self.count = events, count
        self.writer: Any = None  # created with the first picture

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if f"val_{self.task.monitor}" not in (logs or {}):
            return
        pictures = self.task.draw(self.model.predict_on_batch, self.dataset, self.image_size, self.count)
        first = next(pictures, None)
        if first is None:
            return
        import tensorflow as tf

        sheet = contact_sheet(chain([first], pictures), columns=2)
        self.writer = self.writer or tf.summary.create_file_writer(str(self.events), filename_suffix=".images")
        with self.writer.as_default():
            tf.summary.image("ground truth, detections", sheet[None], step=epoch)
        self.writer.flush()


class CountBadImages(keras.callbacks.Callback):
    """Log the number of bad images skipped so far as `bad_images`, if there are any."""

    def __init__(self, bad: BadImages):
        super().__init__()
        self.bad = bad

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if logs is not None and len(self.bad):
            logs["bad_images"] = len(self.bad)


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
    """Save the weights after each epoch."""

    def __init__(self, path: Path):
        super().__init__()
        self.path = path

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.model.save_weights(self.path, include_optimizer=False)


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
            self.model.stop_training = self.is_due()


class AtEpochEnd(keras.callbacks.Callback):
    """Call callbacks at the end of each epoch only, inside `contexts`.

    `epochs` is the total of the training: when `fit` runs only part of it, Keras reports the last epoch of that part.
    """

    def __init__(
        self,
        callbacks: Sequence[keras.callbacks.Callback],
        epochs: int,
        *contexts: Callable[[], AbstractContextManager[None]],
    ):
        super().__init__()
        self.callbacks, self.epochs, self.contexts = callbacks, epochs, contexts

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        for callback in self.callbacks:
            callback.set_model(model)

    def set_params(self, params: dict[str, Any]) -> None:
        super().set_params(params)
        for callback in self.callbacks:
            callback.set_params(params | {"epochs": self.epochs})

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        with ExitStack() as stack:
            for context in self.contexts:
                stack.enter_context(context())
            for callback in self.callbacks:
                callback.on_epoch_end(epoch, logs)


class SaveState(keras.callbacks.Callback):
    """Save the state every `every` steps and at the end of each epoch. It must be the last callback.

    An epoch that is resumed in the middle continues with its metrics.
    """

    def __init__(self, state: TrainingState, every: int, preemption: Preemption):
        super().__init__()
        self.state, self.every, self.preemption = state, every, preemption
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
        self.state.clock.set(epoch + 1, 0)
        self._save()
        self.preemption.check()

    def _save(self) -> None:
        assert self.model is not None  # on JAX, reading `self.model` copies the trained values into the variables
        self.state.save()
