"""Exports a run: its best weights, its class names, its data to calibrate on and to be verified by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from spinenet_tf.data.bad_images import BadImages
from spinenet_tf.data.dataset import DetectionDataset
from spinenet_tf.export.litert import CALIBRATED, tflite
from spinenet_tf.export.onnxmodel import onnx
from spinenet_tf.export.savedmodel import saved_model
from spinenet_tf.export.verify import Report
from spinenet_tf.export.webpage import web
from spinenet_tf.retinanet import RetinaNet
from spinenet_tf.training.config import DataConfig, TrainConfig
from spinenet_tf.training.run import Run

CALIBRATION_IMAGES = 200
FORMS = {"tflite": "model{suffix}.tflite", "saved_model": "saved_model", "onnx": "model.onnx", "web": "web{suffix}"}
OPTIONS = {"tflite": ("target", "inputs", "outputs"), "saved_model": ("nms",), "onnx": (), "web": ()}


def export_run(
    folder: str | Path,
    form: str = "tflite",
    quantization: str = "none",
    path: str | Path | None = None,
    overwrite: bool = False,
    data: DetectionDataset | None = None,
    **options: Any,
) -> Report:
    """Write a run's best detector as one of the `FORMS`, by default into the run's folder, and verify it.

    Quantized forms are calibrated on the run's training images and verified by AP on its validation data, or on `data`.
    `options` are those of the form's writer that `OPTIONS` lists; None is its default.

    Raises:
        ConfigError: the form is to be calibrated, and there is neither `data` nor data of the run.
        RunError: `folder` is not a run with weights.
        ValueError: the form has no such quantization or option, or as its writer does.
        FileExistsError: the artifact exists and `overwrite` is False.
        ExportError: the artifact failed its check; nothing was written.
    """
    _check_form(form, quantization, options)
    detector, config = Run(folder).load()
    path = path or default_path(folder, form, quantization, options.get("target"))
    return export_detector(detector, config, path, form, quantization, overwrite, data, **options)


def export_detector(
    detector: RetinaNet,
    config: TrainConfig,
    path: str | Path,
    form: str = "tflite",
    quantization: str = "none",
    overwrite: bool = False,
    data: DetectionDataset | None = None,
    **options: Any,
) -> Report:
    """Do what `export_run` does with a detector that is loaded already, and the config of its run."""
    _check_form(form, quantization, options)
    names = config.class_names or ()
    given = {name: value for name, value in options.items() if value is not None}
    if form == "saved_model":
        return saved_model(detector, path, names, overwrite=overwrite, **given)
    if form == "onnx":
        return onnx(detector, path, names, overwrite=overwrite)
    calibration = None
    if quantization in CALIBRATED:
        images = _training_images(config.own_data()) if data is None else data
        calibration = calibration_batches(images, config.model.image_size, config.seed)
    verify_on = None
    if quantization != "none":
        verify_on = config.own_data().read("val") if data is None and config.data is not None else data
    write = web if form == "web" else tflite
    checks: dict[str, Any] = {"calibration": calibration, "verify_on": verify_on}
    return write(detector, path, quantization=quantization, class_names=names, overwrite=overwrite, **checks, **given)


def default_path(folder: str | Path, form: str, quantization: str = "none", target: str | None = None) -> Path:
    """Return where in a run's folder an artifact goes."""
    suffix = "".join(f"-{part}" for part in (target, quantization) if part not in (None, "cpu", "none"))
    return Path(folder, FORMS[form].format(suffix=suffix))


def _check_form(form: str, quantization: str, options: Mapping[str, Any]) -> None:
    if form not in FORMS:
        raise ValueError(f"Valid formats are {tuple(FORMS)}. Received: format={form!r}")
    if form in ("saved_model", "onnx") and quantization != "none":
        name = "A SavedModel" if form == "saved_model" else "An ONNX file"
        raise ValueError(f"{name} is not quantized: use the format tflite. Received: quantization={quantization!r}")
    strange = [name for name, value in options.items() if value is not None and name not in OPTIONS[form]]
    if strange:
        raise ValueError(f"The format {form} has the options {OPTIONS[form]}. Received: {strange}")


def _training_images(data: DataConfig) -> DetectionDataset:
    """Read what was trained on, without the image files that training could not find or read either."""
    return data.read("train", BadImages(data.max_bad_images))


def calibration_batches(dataset: DetectionDataset, image_size: tuple[int, int], seed: int) -> Iterator[np.ndarray]:
    """Yield images drawn from the data set by `seed`, preprocessed as for evaluation: `[B, H, W, 3]`."""
    from spinenet_tf.data.pipeline import evaluation_batches

    chosen = np.random.default_rng(seed).permutation(len(dataset))[:CALIBRATION_IMAGES]
    sample = replace(dataset, examples=tuple(dataset.examples[index] for index in chosen))
    for images, _ in evaluation_batches(sample, image_size, batch_size=8).as_numpy_iterator():
        yield images
