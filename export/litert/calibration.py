"""Integer quantization: ranges from real images, then scales that every engine accepts."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from typing import Any

import numpy as np

from spinenet_tf.export.rewrites.stem import pack_stem
from spinenet_tf.inference.naming import INPUT
from spinenet_tf.training.quantization import MIN_RANGE

CALIBRATED = ("int8", "int16x8")
MIN_SCALE = 1e-12  # of 16-bit activations: less is a range of nothing


def quantize(
    converter: Any,
    quantization: str,
    batches: Iterable[np.ndarray],
    shape: tuple[int, ...],
    pixels: bool = False,
    xnnpack: bool = False,
) -> bytes:
    """Convert to integers, with a scale per channel of each conv, and with float32 inputs and outputs.

    `batches` are finitely many normalized `[B, *shape]` images. With `pixels`, for "int8" only, the graph takes them in
    0..255, and the file as uint8. With `xnnpack` the stem of "int8" is rewritten for it (`rewrites.stem`).

    Raises:
        ValueError: the images have another shape, or there are none.
    """
    if quantization == "int8":
        return to_integers(calibrate(converter, batches, shape, pixels, xnnpack), pixels=pixels)
    return _with_16_bits(converter.convert(), batches, shape)


def calibrate(
    converter: Any,
    batches: Iterable[np.ndarray],
    shape: tuple[int, ...],
    pixels: bool = False,
    xnnpack: bool = False,
) -> Any:
    """Return the float model, as TensorFlow's object of a .tflite, with the range of every activation on the images.

    The arguments are those of `quantize`, and so is what is raised. This and `to_integers` do in two steps what the
    converter does in one, to reach the ranges and the operations between them.
    """
    # TensorFlow has no public names for the steps.
    import tensorflow as tf
    from tensorflow.lite.tools import flatbuffer_utils

    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: _images(batches, shape, pixels)
    # The only permitted set: a part that cannot compute in integers fails here instead of running in float.
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter._experimental_calibrate_only = True
    with warnings.catch_warnings():
        # The converter itself calibrates on the interpreter that TensorFlow warns of.
        warnings.filterwarnings("ignore", r"\s*Warning: tf\.lite\.Interpreter is deprecated", UserWarning)
        calibrated = flatbuffer_utils.convert_bytearray_to_object(converter.convert())
    for graph in calibrated.subgraphs:
        for tensor in graph.tensors:
            _widen(tensor.quantization)
    if pixels:
        ranges = calibrated.subgraphs[0].tensors[calibrated.subgraphs[0].inputs[0]].quantization
        ranges.min, ranges.max = [0.0], [255.0]  # a step is a gray level, whatever the images had
    if xnnpack:
        pack_stem(calibrated)
    return calibrated


def to_integers(calibrated: Any, keep: Sequence[str] = (), pixels: bool = False, debug: bool = False) -> bytes:
    """Return the int8 .tflite of what `calibrate` gave; the operations that put out the tensors `keep` stay in float.

    With `debug`, an operation NumericVerify behind each gives by how much it differs from float, its inputs being those
    of the integer graph.
    """
    import tensorflow as tf
    from tensorflow.lite.python.convert import deduplicate_readonly_buffers, mlir_quantize
    from tensorflow.lite.tools import flatbuffer_utils

    content = bytes(flatbuffer_utils.convert_object_to_bytearray(calibrated))
    quantized = mlir_quantize(
        content,
        input_data_type=tf.uint8 if pixels else tf.float32,
        enable_numeric_verify=debug,
        denylisted_nodes=list(keep),
    )
    # A conv shared by the levels has the same integers in each, once its BN has gone into the scales.
    return bytes(deduplicate_readonly_buffers(quantized))


def _with_16_bits(content: bytes, batches: Iterable[np.ndarray], shape: tuple[int, ...]) -> bytes:
    """Quantize a float .tflite by TensorFlow's older quantizer, the only one with 16-bit activations."""
    import tensorflow as tf
    from tensorflow.lite.python.optimize.calibrator import Calibrator, add_intermediate_tensors
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(content)
    _unshare_biases(model)
    calibrator = Calibrator(add_intermediate_tensors(bytes(flatbuffer_utils.convert_object_to_bytearray(model))))
    types = {"input_type": tf.float32, "output_type": tf.float32, "activations_type": tf.int16, "bias_type": tf.int64}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"\s*Warning: tf\.lite\.Interpreter is deprecated", UserWarning)
        images = lambda: _images(batches, shape, pixels=False)  # noqa: E731
        quantized = bytes(calibrator.calibrate_and_quantize(images, allow_float=False, **types))
    _refuse_dead(flatbuffer_utils.convert_bytearray_to_object(quantized))
    return quantized


def _refuse_dead(model: Any) -> None:
    """Raise ValueError if an activation's scale is no number to compute with: this quantizer's ranges are its own."""
    scales = {
        x.name.decode(): x.quantization.scale for graph in model.subgraphs for x in graph.tensors if x.quantization
    }
    dead = [name for name, scale in scales.items() if scale is not None and len(scale) == 1 and scale[0] < MIN_SCALE]
    if dead:
        raise ValueError(
            "int16x8 cannot hold activations that are 0 on all calibration images, as squeeze-and-excitation often is: "
            f"take int8. Received: {dead[0].split(';')[0]}"
        )


def _unshare_biases(model: Any) -> None:
    """Give each conv a bias of its own: the older quantizer would write that of a conv shared by levels once.

    A bias is in units of the input's scale, which differs by level: the scores of all levels but one would shift.
    """
    for graph in model.subgraphs:
        seen = set()
        for operation in graph.operators:
            if len(operation.inputs) == 3 and operation.inputs[2] >= 0:
                bias = int(operation.inputs[2])
                if bias in seen:
                    operation.inputs = [*operation.inputs[:2], len(graph.tensors)]
                    graph.tensors.append(copy(graph.tensors[bias]))
                    graph.tensors[-1].buffer = len(model.buffers)
                    model.buffers.append(copy(model.buffers[graph.tensors[bias].buffer]))
                seen.add(bias)


def _widen(parameters: Any) -> None:
    """Raise the upper end of a calibrated range that is narrower than `MIN_RANGE`."""
    if parameters is not None and parameters.max is not None:
        parameters.max = np.maximum(parameters.max, np.asarray(parameters.min) + MIN_RANGE)


def _images(batches: Iterable[np.ndarray], shape: tuple[int, ...], pixels: bool) -> Iterator[dict[str, np.ndarray]]:
    from spinenet_tf.data.images import to_pixels

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
