"""Load trained models of any task from disk, and the validation data of their runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from spinenet_tf.data.dataset import ClassificationDataset, DetectionDataset
from spinenet_tf.inference.class_predictor import ClassPredictor, load_classifier
from spinenet_tf.inference.metadata import read_metadata
from spinenet_tf.inference.predictor import Predictor, load_predictor
from spinenet_tf.tasks import TASKS
from spinenet_tf.training.run import Run

LOADERS: dict[str, Callable[[Path, int | None], Predictor | ClassPredictor]]
LOADERS = {"detection": load_predictor, "classification": load_classifier}


def read_task(path: Path) -> str:
    """Return the task of the model at `path` from the run's config or the file's metadata; by default detection.

    Raises:
        ValueError: it is a .tflite file without metadata of this package, or a backbone.
    """
    run = Run(path)
    if run.config_path.is_file():
        return run.config().task
    if path.suffix == ".tflite" and path.is_file():
        task = read_metadata(path).task
        if task not in TASKS:
            raise ValueError(f"{path} is not a detector or a classifier. Received: task={task!r}")
        return task
    return "detection"  # its loader reports errors in `path`


def load(path: Path, max_detections: int | None = None) -> Predictor | ClassPredictor:
    """Load a run's best weights or a .tflite file; `max_detections` limits the detections per image.

    Raises:
        FileNotFoundError, ValueError: there is no model at `path`, or it does not support `max_detections`.
    """
    return LOADERS[read_task(path)](path, max_detections)


def read_validation(path: Path) -> DetectionDataset | ClassificationDataset:
    """Read the validation data of the run at `path`.

    Raises:
        ValueError: `path` is a file, the run has no data, or the data is invalid.
    """
    if not path.is_dir():
        given_by = TASKS[read_task(path)].given_by
        raise ValueError(f"A .tflite file has no validation data: pass {given_by}.")
    return Run(path).config().task_data().read("val")
