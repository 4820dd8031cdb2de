"""The check behind every export: does the artifact do what the Keras model does?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from spinenet_tf._files.messages import some_of
from spinenet_tf.data.classes import unknown_classes
from spinenet_tf.data.dataset import ClassificationDataset, DetectionDataset
from spinenet_tf.inference.keras_model import image_shape, task_of
from spinenet_tf.inference.naming import flatten
from spinenet_tf.tasks import TASKS

if TYPE_CHECKING:
    from spinenet_tf.evaluation.detections import Predict

# The field of `Artifact` with the measure of a task.
MEASURES = {"detection": "ap", "classification": "top1", "backbone": "ap"}

# The largest difference that a file may have, relative to the largest output. fp16 rounds each weight to 11 bits, which
# adds up over some 60 convs in a row; integer files have no bound of this kind: they are judged by AP.
TOLERANCES = {"none": 1e-4, "fp16": 2e-2}


class ExportError(RuntimeError):
    """An artifact that does not do what the model does; it has been deleted."""


@dataclass(frozen=True)
class Artifact:
    """What was written, and how it compares with Keras."""

    path: Path
    size: int  # bytes
    difference: dict[str, float]  # "max" and "mean", see `float_difference`
    ap: dict[str, float] | None = None  # of a detector, see `ap_difference`
    top1: dict[str, float] | None = None  # of a classifier, see `top1_difference`


def float_difference(model: keras.Model, runner: Callable[[np.ndarray], Any], images: np.ndarray) -> dict[str, float]:
    """Return the largest and mean difference of raw outputs on normalized `images`, relative to Keras's largest output.

    `runner` maps images to what calling the model gives. Not a number on either side makes both figures NaN.
    """
    expected, actual = flatten(model(images, training=False)), flatten(runner(images))
    expected = {name: keras.ops.convert_to_numpy(x) for name, x in expected.items()}
    errors = np.concatenate([np.abs(expected[name] - np.asarray(actual[name])).ravel() for name in expected])
    largest = max(np.abs(x).max() for x in expected.values()) or 1.0  # all outputs 0: compare as they are
    return {"max": float(errors.max() / largest), "mean": float(errors.mean() / largest)}


def ap_difference(
    model: keras.Model, runner: Any, dataset: DetectionDataset, class_names: Sequence[str] | None = None
) -> dict[str, float]:
    """Return COCO AP of the detector ("keras"), of the artifact's runner ("exported"), and what was lost ("loss").

    `class_names` are the model's, where they are not just those of the data set.
    """
    names = class_names or dataset.class_names
    image_size = image_shape(model)[:2]
    predictors = {"keras": model.predict_on_batch, "exported": runner.predict}
    ap = {name: average_precision(predict, dataset, image_size, names) for name, predict in predictors.items()}
    return ap | {"loss": ap["keras"] - ap["exported"]}


def top1_difference(
    model: keras.Model,
    runner: Any,
    dataset: ClassificationDataset,
    class_names: Sequence[str] | None = None,
    center: float | None = None,
) -> dict[str, float]:
    """Return top-1 of the classifier, of the artifact's runner, and what was lost, as `ap_difference` does with AP.

    `center` is the side of the central crop, see `data.input.class_pipeline.central_crop`.
    """
    options: dict[str, Any] = {} if center is None else {"center": center}
    known = (dataset, image_shape(model)[:2], class_names or dataset.class_names)
    calls = {"keras": model.predict_on_batch, "exported": runner.predict}
    top1 = {name: _score("classification", call, *known, **options) for name, call in calls.items()}
    return top1 | {"loss": top1["keras"] - top1["exported"]}


def average_precision(
    predict: Predict,
    dataset: DetectionDataset,
    image_size: tuple[int, int],
    class_names: Sequence[str],
    batch_size: int = 8,
) -> float:
    """Return COCO AP of what `predict` finds in the data set; `class_names` are the model's.

    Raises:
        ValueError: the data set has a class that the model does not know.
    """
    return _score("detection", predict, dataset, image_size, class_names, batch_size)


def _score(task: str, *subject: Any, **options: Any) -> float:
    """Return the number by which a task ranks models, of a subject that its `measure` takes."""
    return getattr(TASKS[task].measure(*subject, **options), TASKS[task].monitor)


def check(
    model: keras.Model,
    runner: Any,
    quantization: str = "none",
    verify_on: DetectionDataset | ClassificationDataset | None = None,
    max_loss: float = 0.02,
    class_names: Sequence[str] | None = None,
    center: float | None = None,
) -> tuple[dict[str, float], dict[str, float] | None]:
    """Compare an artifact's runner with the model: return `float_difference` on noise, and what accuracy it loses.

    That is `ap_difference` or `top1_difference`, by the task. `runner` has `raw` and, for `verify_on`, `predict`, as
    `TFLiteModel` has them.

    Raises:
        ExportError: an output is not finite, differs by more than `TOLERANCES`, or accuracy fell by more than
            `max_loss`.
    """
    from spinenet_tf.data.images import normalize

    # Of whole pixels, so that files which take these see the same.
    noise = np.asarray(normalize(np.random.default_rng(0).integers(0, 256, (1, *image_shape(model)))))
    difference = float_difference(model, runner.raw, noise)
    tolerance = TOLERANCES.get(quantization, np.finfo(np.float32).max)  # of integer files: any number
    if not difference["max"] <= tolerance:
        raise ExportError(
            f"The {quantization} artifact differs from Keras by more than {tolerance:g} of the largest output. "
            f"Received: {difference}"
        )
    if verify_on is None:
        return difference, None
    if isinstance(verify_on, DetectionDataset):
        accuracy = ap_difference(model, runner, verify_on, class_names)
    else:
        accuracy = top1_difference(model, runner, verify_on, class_names, center)
    if not accuracy["loss"] <= max_loss:
        measure = MEASURES[task_of(model)]
        raise ExportError(f"The {quantization} artifact loses more {measure} than {max_loss=}. Received: {accuracy}")
    return difference, accuracy


def check_verifiable(
    model: keras.Model,
    verify_on: DetectionDataset | ClassificationDataset | None,
    class_names: Sequence[str] | None = None,
) -> None:
    """Refuse a data set that the model cannot be evaluated on, before the work of exporting.

    Raises:
        ValueError: the model is a backbone, the data are for another task, or it does not know their classes.
    """
    if verify_on is None:
        return
    task = "classification" if isinstance(verify_on, ClassificationDataset) else "detection"
    if task_of(model) != task:
        raise ValueError(
            f"AP is measured on detectors, top-1 on classifiers. Received: verify_on={verify_on.name!r} for {task}"
        )
    names = class_names or verify_on.class_names
    if model.num_classes != len(names) or unknown_classes(verify_on, names):
        raise ValueError(
            f"{verify_on.name} has the classes {some_of(verify_on.class_names, show=repr)}. "
            f"Received: num_classes={model.num_classes}, class_names={class_names}"
        )
