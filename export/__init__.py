"""Export trained models to deployment formats that run without this package."""

from typing import TYPE_CHECKING

from spinenet_tf._lazy import lazy_names

if TYPE_CHECKING:
    from spinenet_tf.export.card.page import model_card
    from spinenet_tf.export.check.verify import ExportError
    from spinenet_tf.export.litert.sensitivity import find_sensitive
    from spinenet_tf.export.litert.tflite_file import tflite
    from spinenet_tf.export.onnxmodel import onnx
    from spinenet_tf.export.savedmodel import saved_model
    from spinenet_tf.export.webpage import web
    from spinenet_tf.inference.litert import TFLiteModel

__all__ = ["ExportError", "TFLiteModel", "find_sensitive", "model_card", "onnx", "saved_model", "tflite", "web"]

_HOMES = {
    "ExportError": ".check.verify",
    "TFLiteModel": "spinenet_tf.inference.litert",
    "find_sensitive": ".litert.sensitivity",
    "model_card": ".card.page",
    "onnx": ".onnxmodel",
    "saved_model": ".savedmodel",
    "tflite": ".litert.tflite_file",
    "web": ".webpage",
}

if not TYPE_CHECKING:  # for a type checker, a module with `__getattr__` has every name
    __getattr__, __dir__ = lazy_names(__name__, _HOMES)
