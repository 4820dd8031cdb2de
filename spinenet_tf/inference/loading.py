"""Trained models of any task from disk: which task it is, the model, and the data that it was validated on."""

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
    """Return the task of the model at `path`: what a run's config or a file says; of anything else detection.

    Raises:
        ValueError: it is a .tflite file of another origin, or of a model without a task.
    """
    run = Run(path)
    if run.config_path.is_file():
        return run.config().task
    if path.suffix == ".tflite" and path.is_file():
        task = read_metadata(path).task
        if task not in TASKS:
            raise ValueError(f"{path} neither detects nor classifies. Received: task={task!r}")
        return task
    return "detection"  # whose loader tells what is wrong


def load(path: Path, max_detections: int | None = None) -> Predictor | ClassPredictor:
    """Load a run's best weights, or a file; a detector may give up to `max_detections` of an image.

    Raises:
        FileNotFoundError, ValueError: there is no model at `path`, or it gives no such number.
    """
    return LOADERS[read_task(path)](path, max_detections)


def read_validation(path: Path) -> DetectionDataset | ClassificationDataset:
    """Read the validation data of the run at `path`.

    Raises:
        ValueError: it is a file, has no data, or these are at fault.
    """
    if not path.is_dir():
        given_by = TASKS[read_task(path)].given_by
        raise ValueError(f"A .tflite file has no data of its own: give {given_by}.")
    return Run(path).config().task_data().read("val")
