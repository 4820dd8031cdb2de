"""Integer quantization: ranges from real images, then scales that every engine accepts."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from spinenet_tf.export.signatures import INPUT
from spinenet_tf.quantization import MIN_RANGE

CALIBRATED = ("int8", "int16x8")


def quantize(
    converter: Any, quantization: str, batches: Iterable[np.ndarray], shape: tuple[int, ...], pixels: bool = False
) -> bytes:
    """Convert to integers, with a scale per channel of each conv, and with float32 inputs and outputs.

    `batches` are finitely many normalised `[B, *shape]` images. With `pixels`, for "int8" only, the graph takes them in
    0..255, and the file as uint8.

    Raises:
        ValueError: the images have another shape, or there are none.
    """
    import tensorflow as tf

    operations = {
        "int8": tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
        "int16x8": tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
    }
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: _images(batches, shape, pixels)
    # The only permitted set: a part that has no integer form fails here instead of running in float.
    converter.target_spec.supported_ops = [operations[quantization]]
    # The older quantizer is the one for 16 bits anyway; the newer would first calibrate in vain.
    converter.experimental_new_quantizer = quantization == "int8"
    with warnings.catch_warnings():
        # The converter itself calibrates on the interpreter that TensorFlow warns of.
        warnings.filterwarnings("ignore", r"\s*Warning: tf\.lite\.Interpreter is deprecated", UserWarning)
        return _quantize_int8(converter, pixels) if quantization == "int8" else converter.convert()


def _quantize_int8(converter: Any, pixels: bool) -> bytes:
    """Do in two steps what the converter does in one, to reach the ranges between them."""
    # TensorFlow has no public names for the steps.
    import tensorflow as tf
    from tensorflow.lite.python.convert import deduplicate_readonly_buffers, mlir_quantize
    from tensorflow.lite.tools import flatbuffer_utils

    converter._experimental_calibrate_only = True
    calibrated = flatbuffer_utils.convert_bytearray_to_object(converter.convert())
    for graph in calibrated.subgraphs:
        for tensor in graph.tensors:
            _widen(tensor.quantization)
    if pixels:
        ranges = calibrated.subgraphs[0].tensors[calibrated.subgraphs[0].inputs[0]].quantization
        ranges.min, ranges.max = [0.0], [255.0]  # a step is a grey level, whatever the images had
    content = bytes(flatbuffer_utils.convert_object_to_bytearray(calibrated))
    quantized = mlir_quantize(content, input_data_type=tf.uint8 if pixels else tf.float32)
    # A conv shared by the levels has the same integers in each, once its BN has gone into the scales.
    return bytes(deduplicate_readonly_buffers(quantized))


def _widen(parameters: Any) -> None:
    """Raise the upper end of a calibrated range that is narrower than `MIN_RANGE`."""
    if parameters is not None and parameters.max is not None:
        parameters.max = np.maximum(parameters.max, np.asarray(parameters.min) + MIN_RANGE)


def to_pixels(images: np.ndarray) -> np.ndarray:
    """Undo the normalisation of `[..., 3]` images: the nearest of 0..255 in float32."""
    from spinenet_tf.data.images import MEAN, STD

    mean, std = np.array(MEAN, np.float32), np.array(STD, np.float32)
    return np.clip(np.rint((images * std + mean) * 255), 0, 255)


def _images(batches: Iterable[np.ndarray], shape: tuple[int, ...], pixels: bool) -> Iterator[dict[str, np.ndarray]]:
    count = 0
    for batch in batches:
        batch = np.asarray(batch, np.float32)
        if batch.ndim != 4 or batch.shape[1:] != shape:
            raise ValueError(f"Calibration images have the shape {('batch', *shape)}. Received: shape={batch.shape}")
        for image in batch:
            count += 1
            yield {INPUT: to_pixels(image[None]) if pixels else image[None]}
    if not count:
        raise ValueError("Calibration needs images. Received: calibration without any")
