"""Callbacks that measure a model after an epoch, or show what it predicts."""

from __future__ import annotations

import gc
from itertools import chain
from pathlib import Path
from typing import Any

import keras

from spinenet_tf.data.bad_images import BadImages
from spinenet_tf.data.dataset import ClassificationDataset, DetectionDataset
from spinenet_tf.drawing.boxes import contact_sheet
from spinenet_tf.heads.table import find_head
from spinenet_tf.tasks import TASKS, Task
from spinenet_tf.training.progress import after_the_bar


class Evaluate(keras.callbacks.Callback):
    """Measure the model on a data set after an epoch, and add the metrics to the logs.

    A detector gets the 12 COCO metrics (`val_AP`, `val_AP50`, `val_AR100`, ...; those without ground truth are left
    out), one with masks also those of masks (`val_mask_AP`, ...), a classifier `val_top1` and `val_top5`, all in 0..1.
    Callbacks that come after this one in the list see them:

        data = spinenet_tf.data.read("val.json", images="val")
        callbacks = [
            spinenet_tf.callbacks.Evaluate(data),
            keras.callbacks.ModelCheckpoint("best.keras", monitor="val_AP", mode="max", save_best_only=True),
            keras.callbacks.EarlyStopping(monitor="val_AP", mode="max", patience=5),
        ]
        detector.fit(batches, epochs=100, callbacks=callbacks)

    Keras cannot guess the direction of these metrics: pass `mode="max"`. With `every` above 1, some epochs have no
    metrics; `ModelCheckpoint` saves after them without comparing, and `EarlyStopping` warns.

    Args:
        dataset: the images and their ground truth, a `DetectionDataset` for detectors, a `ClassificationDataset` for
            classifiers: see `spinenet_tf.data.read`.
        image_size: height and width of the network's input in pixels. Default: those of the model.
        every: measure after every so many epochs, after the last epoch, and when a callback stops the training.
        batch_size: images per batch of the evaluation.
        prefix: put before the name of each metric.
        class_names: the model's classes in their order; classes of the data set are matched by name. Default: those
            of the model, or of the data set if the model has no names.
        **options: more arguments of the evaluation's batches: `center` of a classifier is the side of the central crop
            as a fraction of the largest square.

    Raises:
        ValueError: `every` or `batch_size` is not positive; later, in `fit`: the model is of another task, has another
            number of classes, or has no fixed input size while `image_size` is missing; or the data set has a class
            that the model does not have.
    """

    def __init__(
        self,
        dataset: DetectionDataset | ClassificationDataset,
        image_size: tuple[int, int] | None = None,
        every: int = 1,
        batch_size: int = 8,
        prefix: str = "val_",
        class_names: tuple[str, ...] | None = None,
        **options: Any,
    ):
        super().__init__()
        if every < 1 or batch_size < 1:
            raise ValueError(f"`every` and `batch_size` must be at least 1. Received: {every=}, {batch_size=}")
        self.dataset, self.every, self.prefix = dataset, every, prefix
        self.image_size, self.class_names = image_size, class_names
        self.options = {"batch_size": batch_size, **options}

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Check that the model and the data set fit each other, before the first step."""
        self._known()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Measure the model, if the epoch is one of every `every`, and add the metrics to `logs`."""
        due = (epoch + 1) % self.every == 0 or epoch + 1 == self.params["epochs"] or self.model.stop_training
        if due and logs is not None:
            logs.update({f"{self.prefix}{name}": number for name, number in self._measure().items()})

    def _measure(self) -> dict[str, float]:
        task, track = _task_of(self.model, self.dataset), after_the_bar(self.params.get("verbose", 0))
        options = {**self._known(), **self.options}
        numbers = task.measure(self.model.predict_normalized, self.dataset, track=track, **options).to_log()
        # Each data set that was read leaves a graph of 0.1 MB in a reference cycle, which Python collects late.
        gc.collect()
        return numbers

    def _known(self) -> dict[str, Any]:
        """Return what the measurement needs to know about the model: its input size and class names."""
        _task_of(self.model, self.dataset)
        size = self.image_size or tuple(self.model.input_shape[1:3])
        if None in size:
            raise ValueError(f"{self.model.name} has no fixed input size: pass `image_size`. Received: {size}")
        names = self.class_names or getattr(self.model, "class_names", None) or self.dataset.class_names
        count = getattr(self.model, "num_classes", len(names))
        if len(names) != count:
            raise ValueError(
                f"{self.model.name} has {count} classes: pass their names in order as `class_names`. "
                f"Received: {len(names)} names"
            )
        return {"image_size": size, "class_names": names}


class Pictures(keras.callbacks.Callback):
    """Show some images in TensorBoard after each evaluation: ground truth on the left, predictions on the right."""

    def __init__(
        self,
        dataset: DetectionDataset | ClassificationDataset,
        image_size: tuple[int, int],
        events: Path,
        count: int,
    ):
        super().__init__()
        self.dataset, self.image_size = dataset, image_size
        self.events, self.count = events, count
        self.writer: Any = None  # created with the first picture

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        task = _task_of(self.model, self.dataset)
        if f"val_{task.monitor}" not in (logs or {}):
            return
        pictures = task.draw(self.model.predict_normalized, self.dataset, self.image_size, self.count)
        first = next(pictures, None)
        if first is None:
            return
        import tensorflow as tf

        sheet = contact_sheet(chain([first], pictures), columns=2)
        self.writer = self.writer or tf.summary.create_file_writer(str(self.events), filename_suffix=".images")
        with self.writer.as_default():
            tf.summary.image("ground truth, detections", sheet[None], step=epoch)
        self.writer.flush()


def _task_of(model: Any, dataset: DetectionDataset | ClassificationDataset) -> Task[Any]:
    """Return the task of a model's head, or that of the data set if the model is not from this package.

    Raises:
        ValueError: the data set is for other tasks.
    """
    head = getattr(model, "head", None)
    name = dataset.tasks[0] if head is None else find_head(head).task
    if name not in dataset.tasks:
        raise ValueError(f"{model.name} is for {name}. Received: a {type(dataset).__name__}")
    return TASKS[name]


class CountBadImages(keras.callbacks.Callback):
    """Log the number of bad images skipped so far as `bad_images`, if there are any."""

    def __init__(self, bad: BadImages):
        super().__init__()
        self.bad = bad

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if logs is not None and len(self.bad):
            logs["bad_images"] = len(self.bad)
