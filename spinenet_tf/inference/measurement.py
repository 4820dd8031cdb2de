"""Measure a trained model of any format on a data set."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras

from spinenet_tf._files.progress import Track, untracked
from spinenet_tf.data.classes import chosen_classes
from spinenet_tf.data.dataset import ClassificationDataset, DetectionDataset
from spinenet_tf.data.reading import read
from spinenet_tf.evaluation.accuracy import Accuracy
from spinenet_tf.evaluation.metrics import MAX_DETECTIONS, Evaluation
from spinenet_tf.heads.model import HeadModel
from spinenet_tf.inference.loading import load, read_validation
from spinenet_tf.inference.predictor import Predictor
from spinenet_tf.tasks import TASKS

Model = Predictor | HeadModel | str | os.PathLike
Dataset = DetectionDataset | ClassificationDataset


def evaluate(
    model: Model,
    dataset: Dataset | str | os.PathLike | None = None,
    *,
    classes: Sequence[str] | None = None,
    max_detections: int | None = None,
    verbose: int | Track = 0,
) -> Evaluation | Accuracy:
    """Measure a detector by COCO's metrics, or a classifier by its top-1 and top-5 accuracy.

    The classes of model and data set are matched by name: they may be in another order, and the data set may lack some.

    Args:
        model: A Keras model of this package, a path that `load` takes, or what `load` returned.
        dataset: A data set, or a path that `data.read` takes; by default the validation data of the run at `model`.
        classes: Count only the objects or images of these classes.
        max_detections: The number of detections that count per class and image, by default 100, as in COCO. A path is
            loaded with this limit; another model must be built or loaded with it.
        verbose: 0 prints nothing, 1 shows a progress bar as in Keras. Or a function `(results, total, title)` that
            returns an iterator over the results.

    Returns:
        Evaluation | Accuracy: of a detector an `Evaluation`, with `AP`, `AP50` and the other metrics, `per_class`,
            `report(folder)` and `save_detections(path)`, and for instance segmentation `mask_AP` and all metrics of
            `masks`; of a classifier an `Accuracy`, with `top1`, `top5` and `per_class`.

    Raises:
        FileNotFoundError, ValueError: there is no such model or data set, they have different tasks, the model's
            classes have no names, the data set or `classes` has a class that the model does not have, or
            `max_detections` is too small or more than the model detects.
        DataError: an image does not decode, the data set lacks the masks that a model for instance segmentation is
            measured by, or see `data.read`.
    """
    predictor = _predictor(model, max_detections)
    data: Any = _data(model, dataset)  # of the task's type, which annotations cannot express
    _check_task(predictor, data)
    data = chosen_classes(data, classes, predictor.class_names)
    known = (predictor.predict, data, predictor.image_size, predictor.class_names, predictor.batch_size)
    found = TASKS[predictor.task].measure(*known, _track(verbose), **_options(predictor, max_detections))
    return replace(found, model=_title(model)) if isinstance(found, Evaluation) else found


def _predictor(model: Model, max_detections: int | None) -> Predictor:
    if isinstance(model, str | os.PathLike):
        return load(model, max_detections)
    if isinstance(model, HeadModel) and not model.class_names:
        raise ValueError(
            f"Classes are matched by name, but those of {model.name!r} have no names: assign model.class_names, "
            "or build it with class_names=[...]."
        )
    return model if isinstance(model, Predictor) else load(model)


def _data(model: Model, dataset: Dataset | str | os.PathLike | None) -> Dataset:
    if dataset is None:
        if not isinstance(model, str | os.PathLike):
            raise ValueError("Only the folder of a run has data: pass a data set. Received: dataset=None")
        return read_validation(Path(model))
    return dataset if isinstance(dataset, DetectionDataset | ClassificationDataset) else read(dataset)


def _check_task(predictor: Predictor, dataset: Dataset) -> None:
    if predictor.task not in dataset.tasks:
        tasks = " and ".join(dataset.tasks)
        raise ValueError(f"{dataset.name} is for {tasks}. Received: a model for {predictor.task}")


def _options(predictor: Predictor, max_detections: int | None) -> dict[str, Any]:
    """Return the options of the task's `measure`."""
    fit = {"stretch": predictor.stretch}
    if not TASKS[predictor.task].has_boxes:
        if max_detections is not None:
            raise ValueError(f"A classifier has no detections. Received: {max_detections=}")
        return fit if predictor.center is None else fit | {"center": predictor.center}
    slots = predictor.max_detections
    if max_detections is not None and slots is not None and max_detections > slots:
        raise ValueError(f"The model detects up to {slots} objects per image. Received: {max_detections=}")
    limit = MAX_DETECTIONS if max_detections is None else max_detections
    return fit | {"max_detections": limit, "slots": slots}


def _track(verbose: int | Track) -> Track:
    if callable(verbose):
        return verbose
    return _with_bar if verbose else untracked


def _with_bar(items: Iterable, total: int, title: str) -> Iterable:
    """Return the items, and show Keras's progress bar."""
    bar = keras.utils.Progbar(total)
    for count, item in enumerate(items, start=1):
        yield item
        bar.update(count)


def _title(model: Model) -> str:
    if isinstance(model, str | os.PathLike):
        return str(model)
    return model.name if isinstance(model, HeadModel) else "model"
