"""Deployment formats: a trained model written as an artifact that runs without this package."""

from spinenet_tf.export.litert import TFLiteModel, tflite
from spinenet_tf.export.onnxmodel import onnx
from spinenet_tf.export.savedmodel import saved_model
from spinenet_tf.export.sensitivity import find_sensitive
from spinenet_tf.export.verify import ExportError
from spinenet_tf.export.webpage import web

__all__ = ["ExportError", "TFLiteModel", "find_sensitive", "onnx", "saved_model", "tflite", "web"]
