"""Open an exported model of any format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from spinenet_tf._files.size import size_of
from spinenet_tf.inference.exported_model import ExportedModel
from spinenet_tf.inference.litert import SUFFIX, TFLiteModel
from spinenet_tf.inference.metadata import read_metadata, with_slots
from spinenet_tf.inference.onnxfile import has_onnx_runtime, session_runner
from spinenet_tf.inference.openvinofile import has_openvino, network_runner
from spinenet_tf.inference.savedmodel import RAW, SERVE, open_saved_model, signature_runner

SAVED_MODEL, TFLITE, ONNX, OPENVINO = "SavedModel", "TFLite", "ONNX Runtime", "OpenVINO"


def engine_of(path: Path) -> str | None:
    """Return the engine that runs a file or folder; None if it is not an artifact."""
    if (path / "saved_model.pb").is_file():
        return SAVED_MODEL
    return {SUFFIX: TFLITE, ".onnx": ONNX, ".xml": OPENVINO}.get(path.suffix) if path.is_file() else None


def bytes_of(path: Path) -> int:
    """Return the size on disk of an artifact; OpenVINO's weights are in a file next to it."""
    return size_of(path) + (size_of(path.with_suffix(".bin")) if engine_of(path) == OPENVINO else 0)


def is_installed(engine: str) -> bool:
    """Return whether the package of an engine is installed; some belong to extras."""
    return {ONNX: has_onnx_runtime, OPENVINO: has_openvino}.get(engine, lambda: True)()


def open_artifact(
    path: Path, threads: int | None = None, max_detections: int | None = None, raw: bool = False
) -> ExportedModel:
    """Open a .tflite file, a SavedModel, an .onnx or an .xml file that this package wrote.

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


def _open_openvino(path: Path, threads: int | None, max_detections: int | None, raw: bool) -> ExportedModel:
    metadata = with_slots(read_metadata(path), max_detections)
    return ExportedModel(metadata, network_runner(path, threads))


def _open_saved_model(path: Path, threads: int | None, max_detections: int | None, raw: bool) -> ExportedModel:
    """Open the signature `serve`, which includes NMS, unless the SavedModel lacks it or another limit is asked for.

    The metadata describe the signature `raw`.
    """
    metadata, model = read_metadata(path), open_saved_model(path)
    detects = metadata.detects and SERVE in model.signatures and not raw
    if detects and max_detections in (None, metadata.known_head()[1].max_detections):
        return ExportedModel(replace(metadata, output_kind="detections"), signature_runner(model, SERVE))
    return ExportedModel(with_slots(metadata, max_detections), signature_runner(model, RAW))


_OPENERS: dict[str, Callable[[Path, int | None, int | None, bool], ExportedModel]]
_OPENERS = {TFLITE: _open_tflite, ONNX: _open_onnx, OPENVINO: _open_openvino, SAVED_MODEL: _open_saved_model}
