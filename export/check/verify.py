"""The check after every export: compare the artifact's outputs with those of the Keras model."""

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
from spinenet_tf.export.check.selected import selected_difference
from spinenet_tf.inference.keras_model import image_shape, selects, task_of
from spinenet_tf.inference.naming import flatten
from spinenet_tf.ops.pixels import MEAN, STD

if TYPE_CHECKING:
    from spinenet_tf.evaluation.detections import Predict

# The field of `Artifact` with the measure of a task.
MEASURES = {"detection": "ap", "instance segmentation": "ap", "classification": "top1", "backbone": "ap"}

SELECTED_IN = 8  # images that selected detections are compared in: a wrong selection does not show in each

# The largest allowed difference, relative to the largest output. fp16 rounds each weight to 11 bits, and the errors add
# up over about 60 convs in a row. Integer files have no tolerance: they are verified by AP.
TOLERANCES = {"none": 1e-4, "fp16": 2e-2}


class ExportError(RuntimeError):
    """An artifact whose outputs differ from the model's; it was deleted."""


@dataclass(frozen=True)
class Artifact:
    """A written artifact, and its comparison with Keras."""

    path: Path
    size: int  # bytes
    difference: dict[str, float]  # "max" and "mean", see `float_difference` and `selected_difference`
    ap: dict[str, float] | None = None  # of a detector: see `ap_difference`
    top1: dict[str, float] | None = None  # of a classifier: see `top1_difference`


def float_difference(model: keras.Model, runner: Callable[[np.ndarray], Any], images: np.ndarray) -> dict[str, float]:
    """Return the maximum and mean difference of raw outputs on normalized `images`, relative to Keras's largest output.

    `runner` maps images to the same outputs as calling the model. A NaN on either side makes both results NaN.
    """
    expected, actual = flatten(model(images, training=False)), flatten(runner(images))
    expected = {name: keras.ops.convert_to_numpy(x) for name, x in expected.items()}
    errors = np.concatenate([np.abs(expected[name] - np.asarray(actual[name])).ravel() for name in expected])
    largest = max(np.abs(x).max() for x in expected.values()) or 1.0  # absolute difference if all outputs are 0
    return {"max": float(errors.max() / largest), "mean": float(errors.mean() / largest)}


def ap_difference(
    model: keras.Model,
    runner: Any,
    dataset: DetectionDataset,
    class_names: Sequence[str] | None = None,
    stretch: bool = False,
) -> dict[str, float]:
    """Return AP of the detector ("keras") and of the artifact's runner ("exported"), and the difference ("loss").

    It is COCO AP of boxes, or of masks if the model has masks. `class_names` are those of the artifact, by default the
    model's, or those of the data set if it has none. With `stretch`, AP of the artifact on images that are resized by
    `data.fitting.stretched` is "stretched".
    """
    return _difference(task_of(model), model, runner, dataset, class_names, stretch)


def top1_difference(
    model: keras.Model,
    runner: Any,
    dataset: ClassificationDataset,
    class_names: Sequence[str] | None = None,
    center: float | None = None,
    stretch: bool = False,
) -> dict[str, float]:
    """Return top-1 of the classifier and of the artifact's runner, and the loss, as `ap_difference` does for AP.

    `center` is the side of the central crop: see `data.input.class_pipeline.central_crop`.
    """
    options = {} if center is None else {"center": center}
    return _difference("classification", model, runner, dataset, class_names, stretch, **options)


def _difference(
    task: str,
    model: keras.Model,
    runner: Any,
    dataset: DetectionDataset | ClassificationDataset,
    class_names: Sequence[str] | None,
    stretch: bool,
    **options: Any,
) -> dict[str, float]:
    known = (dataset, image_shape(model)[:2], _names(model, class_names, dataset))
    calls = {"keras": model.predict_normalized, "exported": runner.predict}
    found = {name: _score(task, call, *known, **options) for name, call in calls.items()}
    if stretch:
        found["stretched"] = _score(task, runner.predict, *known, stretch=True, **options)
    return found | {"loss": found["keras"] - found["exported"]}


def _names(
    model: keras.Model, given: Sequence[str] | None, dataset: DetectionDataset | ClassificationDataset
) -> Sequence[str]:
    return given or model.class_names or dataset.class_names


def average_precision(
    predict: Predict,
    dataset: DetectionDataset,
    image_size: tuple[int, int],
    class_names: Sequence[str],
    batch_size: int = 8,
    stretch: bool = False,
) -> float:
    """Return COCO AP of `predict` on the data set; `class_names` are the model's class names.

    With `stretch`, images are resized by `data.fitting.stretched`.

    Raises:
        ValueError: the data set has a class that the model does not know.
    """
    return _score("detection", predict, dataset, image_size, class_names, batch_size, stretch=stretch)


def _score(task: str, *subject: Any, **options: Any) -> float:
    """Return the task's monitored metric for the arguments of its `measure`."""
    from spinenet_tf.tasks import TASKS  # imports TensorFlow, which Keras's torch backend exports without

    return getattr(TASKS[task].measure(*subject, **options), TASKS[task].monitor)


def check(
    model: keras.Model,
    runner: Any,
    quantization: str = "none",
    verify_on: DetectionDataset | ClassificationDataset | None = None,
    max_loss: float = 0.02,
    class_names: Sequence[str] | None = None,
    center: float | None = None,
    stretch: bool = False,
    batch_size: int | None = None,
) -> tuple[dict[str, float], dict[str, float] | None]:
    """Compare an artifact's runner with the model: return the difference on noise and the loss of accuracy.

    The difference is `float_difference`, or `selected_difference` if the net selects its detections.

    The noise is one batch of `batch_size` different images, or two images if the artifact takes any number, but at
    least `SELECTED_IN` images for a net that selects its detections. The loss is `ap_difference` or `top1_difference`,
    depending on the task. `runner` has the methods `raw` and, for `verify_on`, `predict` of `TFLiteModel`. `stretch` is
    that of `ap_difference`; "stretched" is not compared.

    Raises:
        ExportError: an output is not finite or differs by more than `TOLERANCES`, or accuracy drops by more than
            `max_loss`.
    """
    # Noise of whole pixels, so that files with uint8 input see the same values.
    count = max(batch_size or 2, SELECTED_IN if selects(model) else 0)
    pixels = np.random.default_rng(0).integers(0, 256, (count, *image_shape(model)))
    noise = ((pixels / 255 - MEAN) / STD).astype(np.float32)
    tolerance = TOLERANCES.get(quantization, np.finfo(np.float32).max)  # integer files: any finite difference
    if selects(model):
        difference = selected_difference(model, runner.raw, noise, TOLERANCES.get(quantization, np.inf))
    else:
        difference = float_difference(model, runner.raw, noise)
    if not difference["max"] <= tolerance:
        raise ExportError(
            f"The artifact with {quantization=} differs from Keras by more than {tolerance:g} of the largest "
            f"output. "
            f"Received: {difference}"
        )
    if verify_on is None:
        return difference, None
    if isinstance(verify_on, DetectionDataset):
        accuracy = ap_difference(model, runner, verify_on, class_names, stretch)
    else:
        accuracy = top1_difference(model, runner, verify_on, class_names, center, stretch)
    if not accuracy["loss"] <= max_loss:
        measure = MEASURES[task_of(model)]
        raise ExportError(
            f"The artifact with {quantization=} loses more {measure} than {max_loss=}. Received: {accuracy}"
        )
    return difference, accuracy


def check_verifiable(
    model: keras.Model,
    verify_on: DetectionDataset | ClassificationDataset | None,
    class_names: Sequence[str] | None = None,
) -> None:
    """Check that the model can be evaluated on a data set, before the export starts.

    Raises:
        ValueError: the model is a backbone, or the data has another task or classes that the model does not know.
    """
    if verify_on is None:
        return
    if task_of(model) not in verify_on.tasks:
        raise ValueError(
            "The data set and the model must have the same task. "
            f"Received: verify_on={verify_on.name!r} for {' and '.join(verify_on.tasks)}, a model for {task_of(model)}"
        )
    names = _names(model, class_names, verify_on)
    if model.num_classes != len(names) or unknown_classes(verify_on, names):
        raise ValueError(
            f"{verify_on.name} has the classes {some_of(verify_on.class_names, show=repr)}. "
            f"Received: num_classes={model.num_classes}, class_names={names}"
        )
