"""The separate steps of TensorFlow's quantizers, which are private in TensorFlow 2.21 and in LiteRT 2.3.

The converter runs all steps at once. Separate steps give access to the ranges and to the operations in between. The
public `QuantizationDebugger` also separates them, but it quantizes before the ranges can be changed, and it does not
support uint8 inputs.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

Images = Callable[[], Iterable[Mapping[str, np.ndarray]]]


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


def to_16_bits(content: bytes, images: Images) -> bytes:
    """Quantize a float .tflite with TensorFlow's older quantizer, the only one with 16-bit activations."""
    import tensorflow as tf
    from tensorflow.lite.python.optimize.calibrator import Calibrator, add_intermediate_tensors

    types = {"input_type": tf.float32, "output_type": tf.float32, "activations_type": tf.int16, "bias_type": tf.int64}
    calibrator = Calibrator(add_intermediate_tensors(content))
    with _without_warning():
        return bytes(calibrator.calibrate_and_quantize(images, allow_float=False, **types))


@contextmanager
def _without_warning() -> Iterator[None]:
    """Hide the deprecation warning of TensorFlow's own interpreter, which its quantizer uses."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"\s*Warning: tf\.lite\.Interpreter is deprecated", UserWarning)
        yield
