"""Convert a TensorFlow function to the bytes of a .tflite file with TensorFlow's converter."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from spinenet_tf._files import native_output
from spinenet_tf.export.litert.calibration import CALIBRATED, calibrate, quantize, to_integers
from spinenet_tf.export.litert.provenance import Provenance
from spinenet_tf.export.savedmodel import write_signatures
from spinenet_tf.export.signatures import pixel_function
from spinenet_tf.inference.naming import DEFAULT


def convert(
    raw: Any,
    quantization: str,
    calibration: Iterable[np.ndarray] | None,
    inputs: str = "float32",
    xnnpack: bool = False,
) -> bytes:
    """Convert the function of `signatures.raw_function` with one quantization for all layers: see `litert.tflite`.

    With `xnnpack`, the stem of "int8" is rewritten (`rewrites.stem`).
    """
    import tensorflow as tf

    integer, pixels = quantization in CALIBRATED, inputs == "uint8"
    # The quantizer itself converts a float input to uint8.
    function = pixel_function(raw, "float32" if integer else "uint8") if pixels else raw
    with converter(function) as conversion:
        if calibration is not None and integer:
            return quantize(conversion, quantization, calibration, _shape(raw), pixels, xnnpack)
        if quantization != "none":
            conversion.optimizations = [tf.lite.Optimize.DEFAULT]
        if quantization == "fp16":
            conversion.target_spec.supported_types = [tf.float16]
        return bytes(conversion.convert())


def convert_partly(
    raw: Any,
    provenance: Provenance,
    layers: Sequence[str],
    calibration: Iterable[np.ndarray],
    inputs: str = "float32",
    xnnpack: bool = False,
) -> bytes:
    """Convert to "int8", except the given layers, which stay in float.

    Raises:
        ValueError: the layers have no operations, because they are folded into others.
    """
    pixels = inputs == "uint8"
    calibrated = calibrate_named(raw, provenance, calibration, pixels, xnnpack)
    kept = provenance.tensors_of(calibrated, layers)
    if not kept:
        raise ValueError(f"The layers have no operations: others absorb them. Received: keep_float={layers}")
    with native_output.hidden():
        return to_integers(calibrated, kept, pixels)


def calibrate_named(
    raw: Any, provenance: Provenance, calibration: Iterable[np.ndarray], pixels: bool = False, xnnpack: bool = False
) -> Any:
    """Return the model from `calibration.calibrate`, with every tensor named after its layers."""
    function = pixel_function(raw, "float32") if pixels else raw
    with converter(function) as conversion:
        calibrated = calibrate(conversion, calibration, _shape(raw), pixels, xnnpack)
    provenance.name_outputs(calibrated)
    return calibrated


@contextmanager
def converter(function: Any) -> Iterator[Any]:
    """Yield TensorFlow's converter for a function, with native output hidden within the block.

    The function is saved as a SavedModel first: without it, the converter loses the output names.
    """
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder, native_output.hidden():
        write_signatures(Path(folder), {DEFAULT: function})
        yield tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[DEFAULT])


def _shape(raw: Any) -> tuple[int, ...]:
    return tuple(raw.input_signature[0].shape)
