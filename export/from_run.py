"""Export a run with its best weights, calibrated and verified on its data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from spinenet_tf._files.progress import Track, untracked
from spinenet_tf.data.bad_images import BadImages
from spinenet_tf.data.dataset import ClassificationDataset, DetectionDataset
from spinenet_tf.export.check.verify import Artifact
from spinenet_tf.export.litert.sensitivity import Sensitivity, find_sensitive
from spinenet_tf.export.litert.tflite_file import CALIBRATED, tflite
from spinenet_tf.export.onnxmodel import onnx
from spinenet_tf.export.savedmodel import saved_model
from spinenet_tf.export.webpage import web
from spinenet_tf.heads.model import HeadModel
from spinenet_tf.tasks import TASKS
from spinenet_tf.training.config import TrainConfig
from spinenet_tf.training.run import Run

Data = DetectionDataset | ClassificationDataset

CALIBRATION_IMAGES = 200
FORMATS = {"tflite": "model{suffix}.tflite", "saved_model": "saved_model", "onnx": "model.onnx", "web": "web{suffix}"}
OPTIONS = {
    "tflite": ("target", "inputs", "outputs", "keep_float", "batch"),
    "saved_model": ("nms", "variables", "batch"),
    "onnx": ("batch",),
    "web": ("keep_float",),
}
DYNAMIC = "dynamic"  # a batch of any size
DEBUG_IMAGES = 32


def export_run(
    folder: str | Path,
    format: str = "tflite",
    quantization: str = "none",
    path: str | Path | None = None,
    overwrite: bool = False,
    data: Data | None = None,
    **options: Any,
) -> Artifact:
    """Write a run's best detector or classifier in one of the `FORMATS`, by default to its folder, and verify it.

    Quantized files are calibrated on the run's training images and verified by AP or top-1 on its validation data, as
    are files for MediaPipe; `data` replaces both. `options` are arguments of the format's export function, listed in
    `OPTIONS`; None means the default. `batch` is its `batch_size`: a number, or `DYNAMIC` for any.

    Raises:
        ConfigError: calibration needs data, and there is neither `data` nor data of the run.
        RunError: `folder` is not a run with weights.
        ValueError: the format does not support the quantization or an option, or its export function raises it.
        FileExistsError: the artifact exists and `overwrite` is False.
        ExportError: the artifact failed its check; nothing was written.
    """
    _check_format(format, quantization, options)
    run = Run(folder)
    path = path or default_path(folder, format, quantization, options.get("target"), options.get("batch"))
    return export_model(run.load(), run.config, path, format, quantization, overwrite, data, **options)


def export_model(
    model: HeadModel,
    config: TrainConfig,
    path: str | Path,
    format: str = "tflite",
    quantization: str = "none",
    overwrite: bool = False,
    data: Data | None = None,
    **options: Any,
) -> Artifact:
    """Export a loaded model and the config of its run, as `export_run` does."""
    _check_format(format, quantization, options)
    given = {name: value for name, value in options.items() if value is not None}
    if "batch" in given:
        batch = given.pop("batch")
        given["batch_size"] = None if batch == DYNAMIC else batch
    if config.task == "classification" and format != "web":
        given["center"] = _center(config)
    if format == "saved_model":
        return saved_model(model, path, overwrite=overwrite, **given)
    if format == "onnx":
        return onnx(model, path, overwrite=overwrite, **given)
    stretch = given.get("target") == "mediapipe"  # images are resized in another way than in training
    calibration = None
    if quantization in CALIBRATED:
        images = _own_data(config, "train") if data is None else data
        calibration = calibration_batches(images, config, stretch=stretch)
    verify_on = None
    if quantization != "none" or stretch:
        verify_on = _own_data(config, "val") if data is None and config.data is not None else data
    write = web if format == "web" else tflite
    checks: dict[str, Any] = {"calibration": calibration, "verify_on": verify_on}
    return write(model, path, quantization=quantization, overwrite=overwrite, **checks, **given)


def debug_run(
    folder: str | Path,
    data: Data | None = None,
    keep_float: Sequence[str] = (),
    target: str | None = None,
    track: Track = untracked,
) -> Sensitivity:
    """Measure which layers of a run's best model lose accuracy in int8: see `sensitivity.find_sensitive`.

    The model is calibrated as in `export_run`, and measured on images of the run's validation data or of `data`.

    Raises:
        ConfigError, RunError: as `export_run` does.
        ValueError: as `find_sensitive` does.
    """
    run = Run(folder)
    model, config = run.load(), run.config
    training, validation = (_own_data(config, split) if data is None else data for split in ("train", "val"))
    images = np.concatenate(list(calibration_batches(validation, config, DEBUG_IMAGES, config.seed + 1)))
    batches = calibration_batches(training, config)
    return find_sensitive(model, batches, images, keep_float, target or "cpu", track)


def _own_data(config: TrainConfig, split: Literal["train", "val"]) -> Data:
    """Read a run's data, without the bad training images that training skips, too."""
    data = config.task_data()
    return data.read(split, BadImages(data.max_bad_images) if split == "train" else None)


def _center(config: TrainConfig) -> float | None:
    return config.own_images().center if config.data is not None else None


def default_path(
    folder: str | Path,
    format: str,
    quantization: str = "none",
    target: str | None = None,
    batch: int | str | None = None,
) -> Path:
    """Return the default path of an artifact in a run's folder."""
    images = None if batch in (None, 1) else f"batch{batch}"
    suffix = "".join(f"-{part}" for part in (target, quantization, images) if part not in (None, "cpu", "none"))
    return Path(folder, FORMATS[format].format(suffix=suffix))


def _check_format(format: str, quantization: str, options: Mapping[str, Any]) -> None:
    if format not in FORMATS:
        raise ValueError(f"format must be one of {tuple(FORMATS)}. Received: format={format!r}")
    if format in ("saved_model", "onnx") and quantization != "none":
        name = "A SavedModel" if format == "saved_model" else "An ONNX file"
        raise ValueError(f"{name} cannot be quantized: use the format tflite. Received: quantization={quantization!r}")
    unknown = [name for name, value in options.items() if value is not None and name not in OPTIONS[format]]
    if unknown:
        raise ValueError(f"The format {format} has the options {OPTIONS[format]}. Received: {unknown}")


def calibration_batches(
    dataset: Data,
    config: TrainConfig,
    count: int = CALIBRATION_IMAGES,
    seed: int | None = None,
    stretch: bool = False,
) -> Iterator[np.ndarray]:
    """Yield batches `[B, H, W, 3]` of `count` random images of the data set, preprocessed as for evaluation.

    With `stretch`, they are resized by `data.fitting.stretched`.
    """
    random = np.random.default_rng(config.seed if seed is None else seed)
    sample = dataset.take(random.permutation(len(dataset))[:count])
    options = config.data.evaluation_options() if config.data else {}
    options = options | {"batch_size": 8, "stretch": stretch}
    batches = TASKS[config.task].evaluation_batches(sample, config.model.image_size, **options)
    for images, _ in batches.as_numpy_iterator():
        yield images
