"""Exports a run: its best weights, its class names, its data to calibrate on and to be verified by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from spinenet_tf.data.dataset import DetectionDataset
from spinenet_tf.export.litert import CALIBRATED, tflite
from spinenet_tf.export.onnxmodel import onnx
from spinenet_tf.export.savedmodel import saved_model
from spinenet_tf.export.verify import Report
from spinenet_tf.export.webpage import web
from spinenet_tf.retinanet import RetinaNet
from spinenet_tf.training.config import TrainConfig
from spinenet_tf.training.run import Run

CALIBRATION_IMAGES = 200
FORMS = {"tflite": "model{suffix}.tflite", "saved_model": "saved_model", "onnx": "model.onnx", "web": "web{suffix}"}


def export_run(
    folder: str | Path,
    form: str = "tflite",
    quantization: str = "none",
    path: str | Path | None = None,
    overwrite: bool = False,
    data: DetectionDataset | None = None,
    nms: bool = True,
) -> Report:
    """Write a run's best detector as one of the `FORMS`, by default into the run's folder, and verify it.

    Quantized forms are calibrated on the run's training images and verified by AP on its validation data, or on `data`.
    `nms` is `saved_model`'s.

    Raises:
        ConfigError: the form is to be calibrated, and there is neither `data` nor data of the run.
        RunError: `folder` is not a run with weights.
        ValueError: the form has no such quantization or `nms`, or as `tflite` does.
        FileExistsError: the artifact exists and `overwrite` is False.
        ExportError: the artifact failed its check; nothing was written.
    """
    _check_form(form, quantization, nms)
    detector, config = Run(folder).load()
    path = path or default_path(folder, form, quantization)
    return export_detector(detector, config, path, form, quantization, overwrite, data, nms)


def export_detector(
    detector: RetinaNet,
    config: TrainConfig,
    path: str | Path,
    form: str = "tflite",
    quantization: str = "none",
    overwrite: bool = False,
    data: DetectionDataset | None = None,
    nms: bool = True,
) -> Report:
    """Do what `export_run` does with a detector that is loaded already, and the config of its run."""
    _check_form(form, quantization, nms)
    names = config.class_names or ()
    if form == "saved_model":
        return saved_model(detector, path, names, nms=nms, overwrite=overwrite)
    if form == "onnx":
        return onnx(detector, path, names, overwrite=overwrite)
    calibration = None
    if quantization in CALIBRATED:
        images = config.own_data().train.read("train") if data is None else data
        calibration = calibration_batches(images, config.model.image_size, config.seed)
    verify_on = None
    if quantization != "none":
        verify_on = config.data.val.read("val") if data is None and config.data is not None else data
    options: dict[str, Any] = {
        "calibration": calibration,
        "class_names": names,
        "verify_on": verify_on,
        "overwrite": overwrite,
    }
    write = web if form == "web" else tflite
    return write(detector, path, quantization=quantization, **options)


def default_path(folder: str | Path, form: str, quantization: str = "none") -> Path:
    """Return where in a run's folder an artifact goes."""
    suffix = "" if quantization == "none" else f"-{quantization}"
    return Path(folder, FORMS[form].format(suffix=suffix))


def _check_form(form: str, quantization: str, nms: bool) -> None:
    if form not in FORMS:
        raise ValueError(f"Valid formats are {tuple(FORMS)}. Received: format={form!r}")
    if form in ("saved_model", "onnx") and quantization != "none":
        name = "A SavedModel" if form == "saved_model" else "An ONNX file"
        raise ValueError(f"{name} is not quantized: use the format tflite. Received: quantization={quantization!r}")
    if form != "saved_model" and not nms:
        raise ValueError(f"Only a SavedModel has NMS to leave out. Received: format={form!r}")


def calibration_batches(dataset: DetectionDataset, image_size: tuple[int, int], seed: int) -> Iterator[np.ndarray]:
    """Yield images drawn from the data set by `seed`, preprocessed as for evaluation: `[B, H, W, 3]`."""
    from spinenet_tf.data.pipeline import evaluation_batches

    chosen = np.random.default_rng(seed).permutation(len(dataset))[:CALIBRATION_IMAGES]
    sample = replace(dataset, examples=tuple(dataset.examples[index] for index in chosen))
    for images, _ in evaluation_batches(sample, image_size, batch_size=8).as_numpy_iterator():
        yield images
