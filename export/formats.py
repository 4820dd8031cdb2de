"""Export in the formats of `keras.Model.export`, with its arguments."""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import keras

from spinenet_tf.export.artifact import holds_no_other_files
from spinenet_tf.export.check.verify import Artifact
from spinenet_tf.export.input_signature import batch_size_in
from spinenet_tf.export.litert.keras_options import without_converter_options
from spinenet_tf.inference.keras_model import check_backend, image_shape, in_float32

logger = logging.getLogger(__name__)


class Format(NamedTuple):
    """A format of `keras.Model.export`."""

    batch_size: int | None  # without an input signature; None: any
    backend: str = "tensorflow"  # of Keras


FORMATS = {
    "tf_saved_model": Format(None),
    "onnx": Format(None),
    "openvino": Format(None),
    "litert": Format(1),
    "torch": Format(1, "torch"),
}
_FIXED = ("model", "path", "batch_size", "options")  # arguments of writers that are no options


def export_as(
    model: keras.Model,
    filepath: str | os.PathLike,
    format: str = "tf_saved_model",
    verbose: bool | None = None,
    input_signature: Any = None,
    **options: Any,
) -> None:
    """Export a model as `nets.base.SpineNetModel.export` says, which has the arguments of `keras.Model.export`."""
    if format not in FORMATS:
        raise ValueError(f"Valid formats are {tuple(FORMATS)}. Received: format={format!r}")
    kind, path = FORMATS[format], Path(filepath)
    check_backend(kind.backend)
    write, model = _writer(format), in_float32(model)
    given = _checked(format, write, options)
    dtype = "uint8" if model.include_preprocessing else "float32"
    batch_size = batch_size_in(input_signature, image_shape(model), kind.batch_size, dtype)
    replaced = holds_no_other_files(path, is_folder=format == "tf_saved_model")
    artifact = write(model, path, batch_size=batch_size, **{"overwrite": replaced} | given)
    if verbose is None or verbose:
        _print(artifact)


def _writer(format: str) -> Callable[..., Artifact]:
    """Import the function that writes a format; only that of "torch" works without TensorFlow."""
    if format == "tf_saved_model":
        from spinenet_tf.export.savedmodel import saved_model

        return saved_model
    if format == "onnx":
        from spinenet_tf.export.onnxmodel import onnx

        return onnx
    if format == "openvino":
        from spinenet_tf.export.openvinomodel import openvino

        return openvino
    if format == "litert":
        from spinenet_tf.export.litert.tflite_file import tflite

        return tflite
    from spinenet_tf.export.torchprogram import torch_program

    return torch_program


def _checked(format: str, write: Callable[..., Artifact], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that are set, if the format has all of them; those of Keras by our names."""
    given = without_converter_options(options) if format == "litert" else dict(options)
    valid = [name for name in inspect.signature(write).parameters if name not in _FIXED]
    unknown = [name for name in given if name not in valid]
    if unknown and format != "torch":  # the others are those of `torch.export.export`, and Keras checks them
        raise ValueError(f"The format {format} has the options {valid}. Received: {unknown}")
    return {name: value for name, value in given.items() if value is not None}


def _print(artifact: Artifact) -> None:
    """Print or log what was written, as Keras does."""
    size, largest = artifact.size / 1e6, artifact.difference["max"]
    message = (
        f"Saved artifact at '{artifact.path}', {size:.2f} MB; it differs from Keras by at most {largest:.2g} of the"
    )
    message += " largest output."
    if keras.config.is_interactive_logging_enabled():
        print(message)
    else:
        logger.info(message)
