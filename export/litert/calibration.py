"""Integer quantization: calibrate ranges on real images, with scales that every engine accepts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from typing import Any

import numpy as np

from spinenet_tf.export.litert import quantizer
from spinenet_tf.export.rewrites.flat_graph import parse, serialize
from spinenet_tf.export.rewrites.stem import pack_stem
from spinenet_tf.inference.naming import INPUT
from spinenet_tf.training.quantization import MIN_RANGE

CALIBRATED = ("int8", "int16x8")
MIN_SCALE = 1e-12  # of 16-bit activations; a smaller scale means an empty range


def quantize(
    converter: Any,
    quantization: str,
    batches: Iterable[np.ndarray],
    shape: tuple[int, ...],
    pixels: bool = False,
    xnnpack: bool = False,
) -> bytes:
    """Convert to integers with one scale per channel of each conv, and float32 inputs and outputs.

    `batches` are a finite number of normalized `[B, *shape]` images. With `pixels`, for "int8" only, the graph's input
    is pixels in 0..255, and the file's is uint8. With `xnnpack`, the stem of "int8" is rewritten (`rewrites.stem`).

    Raises:
        ValueError: the images have another shape, or there are no images.
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
    """Return the float model, parsed by `flat_graph.parse`, with the range of every activation on the images.

    Arguments and errors are those of `quantize`. This and `to_integers` split the converter's single step into two, to
    change ranges and operations in between.
    """
    import tensorflow as tf

    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: _images(batches, shape, pixels)
    # The only allowed set: an operation without integer version fails here instead of running in float.
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    calibrated = parse(quantizer.calibrate(converter))
    for graph in calibrated.subgraphs:
        for tensor in graph.tensors:
            _widen(tensor.quantization)
    if pixels:
        ranges = calibrated.subgraphs[0].tensors[calibrated.subgraphs[0].inputs[0]].quantization
        ranges.min, ranges.max = [0.0], [255.0]  # one quantization step is one gray level, regardless of the images
    if xnnpack:
        pack_stem(calibrated)
    return calibrated


def to_integers(calibrated: Any, keep: Sequence[str] = (), pixels: bool = False, debug: bool = False) -> bytes:
    """Return the int8 .tflite of a model from `calibrate`; the operations that output the tensors `keep` stay in float.

    With `debug`, each operation is followed by NumericVerify, which outputs the difference to the float operation on
    the same integer inputs.
    """
    return quantizer.to_8_bits(serialize(calibrated), keep, pixels, debug)


def _with_16_bits(content: bytes, batches: Iterable[np.ndarray], shape: tuple[int, ...]) -> bytes:
    model = parse(content)
    _unshare_biases(model)
    quantized = quantizer.to_16_bits(serialize(model), lambda: _images(batches, shape, pixels=False))
    _reject_empty_ranges(parse(quantized))
    return quantized


def _reject_empty_ranges(model: Any) -> None:
    """Raise ValueError if an activation's scale is too small: this quantizer does not let us widen its ranges."""
    scales = {
        x.name.decode(): x.quantization.scale for graph in model.subgraphs for x in graph.tensors if x.quantization
    }
    dead = [name for name, scale in scales.items() if scale is not None and len(scale) == 1 and scale[0] < MIN_SCALE]
    if dead:
        raise ValueError(
            "int16x8 does not support activations that are 0 on all calibration images, as in squeeze-and-excitation: "
            f"use int8. Received: {dead[0].split(';')[0]}"
        )


def _unshare_biases(model: Any) -> None:
    """Copy shared biases, so that each conv has its own: the older quantizer quantizes a shared bias only once.

    A bias is in units of the input's scale, which differs by level, so the scores of all levels but one would shift.
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
    """Widen a calibrated range to at least `MIN_RANGE` by raising its upper end."""
    if parameters is not None and parameters.max is not None:
        parameters.max = np.maximum(parameters.max, np.asarray(parameters.min) + MIN_RANGE)


def _images(batches: Iterable[np.ndarray], shape: tuple[int, ...], pixels: bool) -> Iterator[dict[str, np.ndarray]]:
    from spinenet_tf.data.images import to_pixels

    count = 0
    for batch in batches:
        batch = np.asarray(batch, np.float32)
        if batch.ndim != 4 or batch.shape[1:] != shape:
            raise ValueError(
                f"Calibration images must have the shape {('batch', *shape)}. Received: shape={batch.shape}"
            )
        for image in batch:
            count += 1
            yield {INPUT: to_pixels(image[None]) if pixels else image[None]}
    if not count:
        raise ValueError("Calibration needs images. Received: an empty calibration")
