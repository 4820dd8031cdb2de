"""Reshape the stem of an int8 net so that XNNPACK computes it faster: an exact rewrite of a calibrated .tflite.

It saves 7 % of SpineNet-49's time and 13 % of 49S's at 640 px (TFLite int8, `benchmarks/NOTES.md`). The gain on other
engines is not known, so only targets that run on XNNPACK use it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from spinenet_tf.export.rewrites.flat_graph import FlatGraph

LANES = 16  # output channels that XNNPACK's integer kernels compute at once on x86; unused lanes are wasted


def pack_stem(model: Any) -> None:
    """Pack neighboring pixels into channels for the first conv of stride 2, and compute several outputs at once.

    A kernel's inner loop runs over at least eight input channels, but an image has three. Packed and plain maps have
    the same memory layout. `model` is a float .tflite from `flat_graph.parse` that will be quantized to int8; it is
    rewritten in place, and the integer results are bit-identical.
    """
    graph = FlatGraph(model)
    convs = (x for x in graph.operators if graph.is_a(x, "CONV_2D"))
    stem: Any = next((x for x in convs if graph.shape(x.inputs[0])[3] == 3), None)
    outputs = _packed_outputs(graph, stem) if stem else 0
    if outputs:
        _pack(graph, stem, outputs)
        graph.prune()


def _packed_outputs(graph: FlatGraph, stem: Any) -> int:
    """Return the number of neighboring outputs that fill the lanes and divide the map's width; 0 if not possible."""
    options, size = stem.builtinOptions, graph.shape(stem.inputs[1])[2]
    plain = (options.strideW, options.padding, options.dilationWFactor, len(stem.inputs)) == (2, 0, 1, 3) and size > 2
    outputs = max(LANES // graph.shape(stem.outputs[0])[3], 1)
    while outputs and graph.shape(stem.inputs[0])[2] % (2 * outputs):
        outputs //= 2
    return outputs if plain else 0


def _pack(graph: FlatGraph, stem: Any, outputs: int) -> None:
    (batch, height, width, channels), result = graph.shape(stem.inputs[0]), int(stem.outputs[0])
    _, rows, columns, filters = graph.shape(result)
    kernel = _packed_kernel(graph.values(stem.inputs[1]), outputs)
    image = graph.like(stem.inputs[0], (batch, height, width // (2 * outputs), 2 * outputs * channels), owner=result)
    packed = graph.like(result, (batch, rows, columns // outputs, outputs * filters)) if outputs > 1 else result
    bias = np.tile(graph.values(stem.inputs[2]), outputs)
    before, after = graph.reshape(int(stem.inputs[0]), image), graph.reshape(packed, result)
    stem.inputs = [image, graph.constant(kernel, stem.inputs[1]), graph.constant(bias, stem.inputs[2])]
    stem.outputs, stem.builtinOptions.strideW = [packed], 1
    place = graph.operators.index(stem)
    graph.operators[place : place + 1] = [before, stem, after] if outputs > 1 else [before, stem]


def _packed_kernel(kernel: np.ndarray, outputs: int) -> np.ndarray:
    """Return the kernel `[m F, h, w', 2 m C]` that computes m outputs of `[F, h, w, C]` (stride 2, SAME, even width).

    Weights outside of an output's receptive field are 0.
    """
    filters, height, width, channels = kernel.shape
    pixels, before = 2 * outputs, (width - 2) // 2
    first = -before // pixels
    last = (pixels - 2 - before + width - 1) // pixels
    packed = np.zeros((outputs, filters, height, last - first + 1, pixels, channels), kernel.dtype)
    for output in range(outputs):
        for column in range(width):
            group, pixel = divmod(2 * output - before + column, pixels)
            packed[output, :, :, group - first, pixel] = kernel[:, :, column]
    return packed.reshape(outputs * filters, height, -1, pixels * channels)
