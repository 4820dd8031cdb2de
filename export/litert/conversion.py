"""From a function of TensorFlow to the bytes of a .tflite, by TensorFlow's converter."""

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
    """Convert `signatures.raw_function`'s function as `litert.tflite` says, all of it in one type.

    With `xnnpack` the stem of "int8" is rewritten for it (`rewrites.stem`).
    """
    import tensorflow as tf

    integer, pixels = quantization in CALIBRATED, inputs == "uint8"
    # The quantizer makes uint8 of a float input by itself.
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
    """Convert to "int8", but for these layers, which stay in float.

    Raises:
        ValueError: no operation is left of the layers: they have gone into others.
    """
    pixels = inputs == "uint8"
    calibrated = calibrate_named(raw, provenance, calibration, pixels, xnnpack)
    kept = provenance.tensors_of(calibrated, layers)
    if not kept:
        raise ValueError(f"These layers have no operations, they are folded into others. Received: keep_float={layers}")
    with native_output.hidden():
        return to_integers(calibrated, kept, pixels)


def calibrate_named(
    raw: Any, provenance: Provenance, calibration: Iterable[np.ndarray], pixels: bool = False, xnnpack: bool = False
) -> Any:
    """Return what `calibration.calibrate` gives, with every tensor named after layers."""
    function = pixel_function(raw, "float32") if pixels else raw
    with converter(function) as conversion:
        calibrated = calibrate(conversion, calibration, _shape(raw), pixels, xnnpack)
    provenance.name_outputs(calibrated)
    return calibrated


@contextmanager
def converter(function: Any) -> Iterator[Any]:
    """Yield TensorFlow's converter of a function, quiet while the block runs.

    It goes by way of a SavedModel: from a function alone the converter loses the outputs' names.
    """
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder, native_output.hidden():
        write_signatures(Path(folder), {DEFAULT: function})
        yield tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[DEFAULT])


def _shape(raw: Any) -> tuple[int, ...]:
    return tuple(raw.input_signature[0].shape[1:])
