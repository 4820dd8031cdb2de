"""Load trained models of any task and format, and the validation data of their runs."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from spinenet_tf.data.dataset import ClassificationDataset, DetectionDataset
from spinenet_tf.heads.head import with_limit
from spinenet_tf.heads.model import HeadModel
from spinenet_tf.heads.table import find_head
from spinenet_tf.inference.artifacts import SAVED_MODEL, engine_of, open_artifact
from spinenet_tf.inference.checks import check_images
from spinenet_tf.inference.keras_model import task_of
from spinenet_tf.inference.metadata import read_metadata
from spinenet_tf.inference.predictor import Predictor
from spinenet_tf.tasks import TASKS
from spinenet_tf.training.run import Run

RUN = "run"
BATCH_SIZE = 8  # images per call of a model that takes any number,
BATCH_PIXELS = BATCH_SIZE * 640 * 640  # unless their inputs have more pixels than this: memory grows with them
_KINDS = "the folder of a run or of a SavedModel, or a .tflite, .onnx or .xml file"
# What to do with files that Keras wrote, by the end of their name.
_KERAS_FILES = {
    ".keras": "is a Keras model: load it by keras.saving.load_model, and pass the model",
    ".weights.h5": "has weights only: pass the folder of its run, or build the model and call its load_weights(path)",
}


def load(
    path: str | os.PathLike | HeadModel, max_detections: int | None = None, threads: int | None = None
) -> Predictor:
    """Load a trained detector or classifier, to call it with images.

    `path` is the folder of a run, whose best weights are loaded, or an artifact that `spinenet_tf.export` wrote: a
    .tflite file, the folder of a SavedModel, an .onnx file, or OpenVINO's .xml file with its .bin file next to it. A
    Keras model of this package may be passed instead.
    `max_detections` limits the detections per image; by default, it is the model's limit. `threads` are those of
    LiteRT, ONNX Runtime or OpenVINO; by default, all cores.

    Raises:
        FileNotFoundError: `path` does not exist.
        ImportError: the package that runs the format is not installed.
        TypeError: `path` is not a path or a model.
        ValueError: there is no such model at `path`, it is not a detector or classifier, or it does not support
            `max_detections` or `threads`.
    """
    if isinstance(path, HeadModel):
        _check_options(RUN, task_of(path), None, threads)
        if max_detections is not None:
            raise ValueError(f"Set the limit when you build the model. Received: {max_detections=}")
        return predictor_of(path)
    if not isinstance(path, str | os.PathLike):
        kinds = "a path, or a detector or classifier of spinenet_tf"
        raise TypeError(f"`path` must be {kinds}. Received: an object of type {type(path).__name__}")
    path = Path(path)
    engine = find_engine(path)
    _check_options(engine, read_task(path), max_detections, threads)
    return _load_run(path, max_detections) if engine == RUN else _load_artifact(path, max_detections, threads)


def predictor_of(model: HeadModel, center: float | None = None) -> Predictor:
    """Return the predictor of a Keras model; `center` is the side of a classifier's central crop.

    Raises:
        ValueError: the model's image size is dynamic.
    """
    height, width, _ = model.backbone.image_shape
    if height is None or width is None:
        raise ValueError(f"Build the model with a static input_shape=(H, W, 3). Received: {model.backbone.image_shape}")
    turn = Lock()

    def predict(images: np.ndarray) -> Any:
        images = check_images(images, (height, width))
        with turn:  # without a lock, concurrent first calls would each build a graph in Keras
            return model.predict_normalized(images)

    return Predictor(
        predict,
        image_size=(height, width),
        class_names=model.class_names or tuple(map(str, range(model.num_classes))),
        max_detections=getattr(model.options, "max_detections", None),
        category_ids=model.category_ids,
        task=task_of(model),
        center=center,
        batch_size=_batch_size((height, width)),
    )


def _load_run(path: Path, max_detections: int | None) -> Predictor:
    run = Run(path)
    model, config = run.load(), run.config
    if max_detections is not None:
        model.options = with_limit(find_head(model.head), model.options, max_detections)
    center = config.own_images().center if config.task == "classification" and config.data else None
    return predictor_of(model, center)


def _load_artifact(path: Path, max_detections: int | None, threads: int | None) -> Predictor:
    model = open_artifact(path, threads, max_detections)
    metadata = model.metadata
    return Predictor(
        model.predict,
        image_size=model.image_size,
        class_names=tuple(model.class_names),
        max_detections=getattr(metadata.known_head()[1], "max_detections", None),
        category_ids=None if metadata.category_ids is None else tuple(metadata.category_ids),
        task=metadata.task,
        center=metadata.center if metadata.task == "classification" else None,
        stretch=metadata.stretch,
        batch_size=model.batch_size or _batch_size(model.image_size),
    )


def _batch_size(image_size: tuple[int, int]) -> int:
    height, width = image_size
    return min(BATCH_SIZE, max(1, BATCH_PIXELS // (height * width)))


def _check_options(engine: str, task: str, max_detections: int | None, threads: int | None) -> None:
    if max_detections is not None and not TASKS[task].has_boxes:
        raise ValueError(f"A classifier has no detections. Received: {max_detections=}")
    if threads is not None and engine in (RUN, SAVED_MODEL):
        call = "tf.config.threading.set_intra_op_parallelism_threads"
        raise ValueError(f"TensorFlow's threads belong to the process: set them by {call}. Received: {threads=}")


def find_engine(path: Path) -> str:
    """Return `RUN` for the folder of a run, or the engine of an artifact: see `engine_of`.

    Raises:
        FileNotFoundError: `path` does not exist.
        ValueError: it is neither.
    """
    if not path.exists():
        raise FileNotFoundError(f"There is no model {path}.")
    if Run(path).config_path.is_file():
        return RUN
    if engine := engine_of(path):
        return engine
    if path.is_dir():
        raise ValueError(f"{path} is neither a run folder (no config.yaml) nor a SavedModel (no saved_model.pb).")
    advice = next((advice for suffix, advice in _KERAS_FILES.items() if path.name.endswith(suffix)), None)
    raise ValueError(f"{path} {advice}." if advice else f"A model must be {_KINDS}. Received: {path}")


def read_task(path: Path) -> str:
    """Return the task of the model at `path`, a key of `TASKS`.

    Raises:
        FileNotFoundError, ValueError: as `find_engine` does, or an artifact has no metadata, or is a backbone.
    """
    task = Run(path).config.task if find_engine(path) == RUN else read_metadata(path).task
    if task not in TASKS:
        raise ValueError(f"{path} is not a detector or a classifier. Received: task={task!r}")
    return task


def read_validation(path: Path) -> DetectionDataset | ClassificationDataset:
    """Read the validation data of the run at `path`.

    Raises:
        ValueError: `path` is an artifact, the run has no data, or the data is invalid.
    """
    if find_engine(path) != RUN:
        raise ValueError(f"An exported model has no validation data: pass {TASKS[read_task(path)].given_by}.")
    return Run(path).config.task_data().read("val")
