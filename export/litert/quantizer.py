"""The separate steps of TensorFlow's quantizers, which are private in TensorFlow 2.21 and in LiteRT 2.3.

The converter runs all steps at once. Separate steps give access to the ranges and to the operations in between. The
public `QuantizationDebugger` also separates them, but it quantizes before the ranges can be changed, and it does not
support uint8 inputs.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any


def calibrate(converter: Any) -> bytes:
    """Return the converter's float .tflite with the range of each activation on its representative data set."""
    converter._experimental_calibrate_only = True
    with _without_warning():
        return converter.convert()


def to_8_bits(calibrated: bytes, keep: Sequence[str], pixels: bool, debug: bool) -> bytes:
    """Quantize a .tflite from `calibrate` to int8; the arguments are those of `calibration.to_integers`."""
    import tensorflow as tf
    from tensorflow.lite.python.convert import mlir_quantize

    quantized = mlir_quantize(
        calibrated,
        input_data_type=tf.uint8 if pixels else tf.float32,
        enable_numeric_verify=debug,
        denylisted_nodes=list(keep),
    )
    return bytes(quantized)


def to_16_bits(calibrated: bytes) -> bytes:
    """Quantize a .tflite from `calibrate` with TensorFlow's older quantizer, the only one with 16-bit activations."""
    import tensorflow as tf
    from tensorflow.lite.python.optimize.calibrator import Calibrator

    types = {"input_type": tf.float32, "output_type": tf.float32, "activations_type": tf.int16, "bias_type": tf.int64}
    # It would calibrate, too; without images, it keeps the ranges that it is given.
    return bytes(Calibrator(calibrated).calibrate_and_quantize(lambda: (), allow_float=False, **types))


@contextmanager
def _without_warning() -> Iterator[None]:
    """Hide the deprecation warning of TensorFlow's own interpreter, which its quantizer uses."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"\s*Warning: tf\.lite\.Interpreter is deprecated", UserWarning)
        yield
