"""Open an exported model of any format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from spinenet_tf.inference.exported_model import ExportedModel
from spinenet_tf.inference.litert import SUFFIX, TFLiteModel
from spinenet_tf.inference.metadata import read_metadata, with_slots
from spinenet_tf.inference.onnxfile import session_runner
from spinenet_tf.inference.savedmodel import RAW, SERVE, open_saved_model, signature_runner

SAVED_MODEL, TFLITE, ONNX = "SavedModel", "TFLite", "ONNX Runtime"


def engine_of(path: Path) -> str | None:
    """Return the engine that runs a file or folder; None if it is not an artifact."""
    if (path / "saved_model.pb").is_file():
        return SAVED_MODEL
    return {SUFFIX: TFLITE, ".onnx": ONNX}.get(path.suffix) if path.is_file() else None


def open_artifact(
    path: Path, threads: int | None = None, max_detections: int | None = None, raw: bool = False
) -> ExportedModel:
    """Open a .tflite file, a SavedModel or an .onnx file that this package wrote.

    `threads` is ignored by a SavedModel, since TensorFlow's threads belong to the process. `max_detections` limits the
    detections per image; by default, it is the model's limit. With `raw`, a SavedModel runs without decoding.

    Raises:
        ImportError: the package that runs the format is not installed.
        ValueError: the artifact has no metadata, does not load, or contains NMS with another limit.
    """
    return _OPENERS[engine_of(path) or ""](path, threads, max_detections, raw)


def _open_tflite(path: Path, threads: int | None, max_detections: int | None, raw: bool) -> ExportedModel:
    return TFLiteModel(path, threads, max_detections)


def _open_onnx(path: Path, threads: int | None, max_detections: int | None, raw: bool) -> ExportedModel:
    metadata = with_slots(read_metadata(path), max_detections)
    return ExportedModel(metadata, session_runner(path, threads))


def _open_saved_model(path: Path, threads: int | None, max_detections: int | None, raw: bool) -> ExportedModel:
    """Open the signature `serve`, which includes NMS, unless the SavedModel lacks it or another limit is asked for.

    The metadata describe the signature `raw`.
    """
    metadata, model = read_metadata(path), open_saved_model(path)
    detects = metadata.task == "detection" and SERVE in model.signatures and not raw
    if detects and max_detections in (None, metadata.known_head()[1].max_detections):
        return ExportedModel(replace(metadata, output_kind="detections"), signature_runner(model, SERVE))
    return ExportedModel(with_slots(metadata, max_detections), signature_runner(model, RAW))


_OPENERS: dict[str, Callable[[Path, int | None, int | None, bool], ExportedModel]]
_OPENERS = {TFLITE: _open_tflite, ONNX: _open_onnx, SAVED_MODEL: _open_saved_model}
