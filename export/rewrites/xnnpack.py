"""Exact rewrites of a converted float graph for XNNPACK: the same function, in shapes that its kernels run faster.

What each gains was measured by operation (`benchmarks/operations.py`); the figures are in `benchmarks/NOTES.md`. Other
engines take the same operations, but what they gain is not known: only targets that run on XNNPACK ask for it.
"""

from __future__ import annotations

from copy import copy
from typing import Any

import numpy as np

from spinenet_tf.export.rewrites.flat_graph import FlatGraph

LANES = 16  # output channels that XNNPACK's integer kernels compute at once on x86; the rest of a tile is thrown away


def rewrite(model: Any, integer: bool) -> None:
    """Rewrite a float .tflite, as TensorFlow's object, in place; `integer` says that it will be quantized to int8.

    Outputs stay what they are up to the order of sums in float, and to the last bit in integers. Ranges of calibration
    stay those of the same values.
    """
    graph = FlatGraph(model)
    _pack_stem(graph, integer)
    _widen_gates(graph)
    if not integer:
        _merge_sums(graph)
    graph.prune()


def _pack_stem(graph: FlatGraph, integer: bool) -> None:
    """Let the image's conv of stride 2 see neighbouring pixels as channels of one, and make several outputs at once.

    A kernel's inner loop runs over input channels, in integers over eight at least, and there are three. In memory,
    packed and plain maps are the same.
    """
    convs = (x for x in graph.operators if graph.is_a(x, "CONV_2D"))
    stem: Any = next((x for x in convs if graph.shape(x.inputs[0])[3] == 3), None)
    outputs = _packed_outputs(graph, stem, integer) if stem else 0
    if not outputs:
        return
    (_, height, width, channels), result = graph.shape(stem.inputs[0]), int(stem.outputs[0])
    _, rows, columns, filters = graph.shape(result)
    kernel = _packed_kernel(graph.values(stem.inputs[1]), outputs)
    image = graph.like(stem.inputs[0], (1, height, width // (2 * outputs), 2 * outputs * channels), owner=result)
    packed = graph.like(result, (1, rows, columns // outputs, outputs * filters)) if outputs > 1 else result
    bias = np.tile(graph.values(stem.inputs[2]), outputs)
    before, after = graph.reshape(int(stem.inputs[0]), image), graph.reshape(packed, result)
    stem.inputs = [image, graph.constant(kernel, stem.inputs[1]), graph.constant(bias, stem.inputs[2])]
    stem.outputs, stem.builtinOptions.strideW = [packed], 1
    place = graph.operators.index(stem)
    graph.operators[place : place + 1] = [before, stem, after] if outputs > 1 else [before, stem]


def _packed_outputs(graph: FlatGraph, stem: Any, integer: bool) -> int:
    """Return how many neighbouring outputs pay, 0 for none: in float only kernels with many taps gain."""
    options, size = stem.builtinOptions, graph.shape(stem.inputs[1])[2]
    plain = (options.strideW, options.padding, options.dilationWFactor, len(stem.inputs)) == (2, 0, 1, 3) and size > 2
    outputs = max(LANES // graph.shape(stem.outputs[0])[3], 1) if integer else int(size > 3)
    while outputs and graph.shape(stem.inputs[0])[2] % (2 * outputs):
        outputs //= 2
    return outputs if plain else 0


def _packed_kernel(kernel: np.ndarray, outputs: int) -> np.ndarray:
    """Return the kernel `[m F, h, w', 2 m C]` for m outputs at once, of `[F, h, w, C]` with stride 2, SAME, even width.

    Where an output does not look, its weight is 0.
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


def _widen_gates(graph: FlatGraph) -> None:
    """Repeat the gates of squeeze-and-excitation along a row of the map, in the multiplication that ends them.

    Else XNNPACK multiplies pixel by pixel, a call for each.
    """
    for scale in [x for x in graph.operators if graph.is_a(x, "MUL")]:
        gate, sides = graph.makers.get(int(scale.inputs[1])), graph.shape(scale.outputs[0])
        if gate is None or not graph.is_a(gate, "MUL") or len(sides) != 4:
            continue
        _, height, width, channels = sides
        if graph.shape(scale.inputs[1]) != (1, 1, 1, channels) or height * width == 1:
            continue
        factor = int(gate.inputs[1])
        if graph.is_constant(factor) and graph.values(factor).size == 1 and graph.readers[gate.outputs[0]] == 1:
            row = np.full((1, 1, width, 1), graph.values(factor).item(), np.float32)
            gate.inputs = [gate.inputs[0], graph.constant(row, factor)]
            graph.resize(gate.outputs[0], (1, 1, width, channels))


def _merge_sums(graph: FlatGraph) -> None:
    """Write the sum of two 1x1 convs as one conv of both inputs side by side, where these are narrower than the sum.

    `summing` does the same to the graph of a SavedModel. The sum is never written to memory but as the result, and its
    activation, which XNNPACK does not fuse into additions, is the conv's. In integers both inputs would need the same
    scale, which costs accuracy.
    """
    for total in [x for x in graph.operators if graph.is_a(x, "ADD")]:
        convs = [graph.makers.get(int(x)) for x in total.inputs]
        if all(_is_summand(graph, x) for x in convs) and _width(graph, convs) <= graph.shape(total.outputs[0])[3]:
            _merge(graph, total, convs)


def _is_summand(graph: FlatGraph, conv: Any) -> bool:
    if conv is None or not graph.is_a(conv, "CONV_2D") or len(conv.inputs) != 3:
        return False
    options = conv.builtinOptions
    plain = (options.strideH, options.strideW, options.fusedActivationFunction) == (1, 1, 0)
    kernel = graph.shape(conv.inputs[1])
    return plain and tuple(kernel[1:3]) == (1, 1) and graph.readers[conv.outputs[0]] == 1


def _width(graph: FlatGraph, convs: list[Any]) -> int:
    return sum(graph.shape(conv.inputs[0])[3] for conv in convs)


def _merge(graph: FlatGraph, total: Any, convs: list[Any]) -> None:
    first, second = convs
    sources = [int(conv.inputs[0]) for conv in convs]
    joined = graph.like(sources[0], (*graph.shape(sources[0])[:3], _width(graph, convs)))
    kernel = np.concatenate([graph.values(conv.inputs[1]) for conv in convs], axis=3)
    bias = graph.values(first.inputs[2]) + graph.values(second.inputs[2])
    merged = copy(first)
    merged.inputs = [joined, graph.constant(kernel, first.inputs[1]), graph.constant(bias, first.inputs[2])]
    merged.outputs, merged.builtinOptions = total.outputs, copy(first.builtinOptions)
    merged.builtinOptions.fusedActivationFunction = total.builtinOptions.fusedActivationFunction
    concatenation = graph.concatenate(sources, joined)
    place = graph.operators.index(total)
    graph.operators[place : place + 1] = [concatenation, merged]
    for conv in convs:
        graph.operators.remove(conv)
