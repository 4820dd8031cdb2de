"""Integer quantization: calibrate ranges on real images, with scales that every engine accepts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from itertools import islice
from typing import Any

import keras
import numpy as np

from spinenet_tf.export.litert import quantizer
from spinenet_tf.export.rewrites.flat_graph import parse, serialize
from spinenet_tf.export.rewrites.stem import pack_stem
from spinenet_tf.inference.keras_model import selects
from spinenet_tf.inference.naming import INPUT
from spinenet_tf.training.quantization import MIN_RANGE

CALIBRATED = ("int8", "int16x8")
ROOM = 4.0  # how far the range of a 16-bit activation exceeds the values on the calibration images


def check_quantizable(model: keras.Model) -> None:
    """Check that integers can represent the outputs of a model.

    Raises:
        ValueError: its net selects the detections itself.
    """
    if selects(model):
        reason = "The boxes that this net selects would be rounded to 8 or 16 bits"
        raise ValueError(f"{reason}: use the quantization dynamic. Received: model={type(model).__name__}")


def quantize(
    converter: Any,
    quantization: str,
    batches: Iterable[np.ndarray],
    shape: tuple[int, ...],
    pixels: bool = False,
    xnnpack: bool = False,
) -> bytes:
    """Convert to integers with one scale per channel of each conv, and float32 inputs and outputs.

    `shape` is that of the graph's input, `[N, H, W, 3]`. `batches` are a finite number of normalized images
    `[B, H, W, 3]`, of any B. With `pixels`, for "int8" only, the graph's input is pixels in 0..255, and the file's is
    uint8. With `xnnpack`, the stem of "int8" is rewritten (`rewrites.stem`).

    Raises:
        ValueError: the images have another shape, or there are no images.
    """
    if quantization == "int8":
        return to_integers(calibrate(converter, batches, shape, pixels, xnnpack), pixels=pixels)
    calibrated = calibrate(converter, batches, shape)
    for parameters in _ranges(calibrated):
        _give_room(parameters)
    _unshare_biases(calibrated)
    return quantizer.to_16_bits(serialize(calibrated))


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
    converter.representative_dataset = lambda: _inputs(batches, shape, pixels)
    # The only allowed set: an operation without integer version fails here instead of running in float.
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    calibrated = parse(quantizer.calibrate(converter))
    for parameters in _ranges(calibrated):
        _widen(parameters)
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


def _ranges(model: Any) -> Iterator[Any]:
    """Yield the quantization parameters of each calibrated activation: `min` and `max` are its range."""
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            if tensor.quantization is not None and tensor.quantization.max is not None:
                yield tensor.quantization


def _widen(parameters: Any) -> None:
    """Widen a calibrated range to at least `MIN_RANGE` by raising its upper end."""
    parameters.max = np.maximum(parameters.max, np.asarray(parameters.min) + MIN_RANGE)


def _give_room(parameters: Any) -> None:
    """Widen a calibrated range to `ROOM` times its largest magnitude, which counts as 1 if it is smaller.

    16 bits have steps to spare, and other images may have larger values: if a squeeze-and-excitation is 0 on all
    calibration images and not on another one, its gate has other values there, too.
    """
    limit = ROOM * max(1.0, *np.abs([parameters.min, parameters.max]).ravel())
    parameters.min, parameters.max = [-limit], [limit]


def _inputs(batches: Iterable[np.ndarray], shape: tuple[int, ...], pixels: bool) -> Iterator[dict[str, np.ndarray]]:
    """Yield all images in groups of `shape[0]`; the last image fills the last group, since it changes no range."""
    from spinenet_tf.data.images import to_pixels

    size, images = shape[0], _images(batches, shape[1:])
    while group := list(islice(images, size)):
        inputs = np.stack(group + group[-1:] * (size - len(group)))
        yield {INPUT: to_pixels(inputs) if pixels else inputs}


def _images(batches: Iterable[np.ndarray], shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    count = 0
    for batch in batches:
        batch = np.asarray(batch, np.float32)
        if batch.ndim != 4 or batch.shape[1:] != shape:
            raise ValueError(
                f"Calibration images must have the shape {('batch', *shape)}. Received: shape={batch.shape}"
            )
        yield from batch
        count += len(batch)
    if not count:
        raise ValueError("Calibration needs images. Received: an empty calibration")
