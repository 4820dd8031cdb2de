"""Export trained models to deployment formats that run without this package."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spinenet_tf.export.check.verify import ExportError
    from spinenet_tf.export.litert.sensitivity import find_sensitive
    from spinenet_tf.export.litert.tflite_file import tflite
    from spinenet_tf.export.onnxmodel import onnx
    from spinenet_tf.export.savedmodel import saved_model
    from spinenet_tf.export.webpage import web
    from spinenet_tf.inference.litert import TFLiteModel

__all__ = ["ExportError", "TFLiteModel", "find_sensitive", "onnx", "saved_model", "tflite", "web"]

_HOMES = {
    "ExportError": "spinenet_tf.export.check.verify",
    "TFLiteModel": "spinenet_tf.inference.litert",
    "find_sensitive": "spinenet_tf.export.litert.sensitivity",
    "onnx": "spinenet_tf.export.onnxmodel",
    "saved_model": "spinenet_tf.export.savedmodel",
    "tflite": "spinenet_tf.export.litert.tflite_file",
    "web": "spinenet_tf.export.webpage",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that reading an artifact does not import the exporters."""
    if name not in _HOMES:
        raise AttributeError(f"module 'spinenet_tf.export' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
