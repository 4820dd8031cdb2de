"""Separate activations from transposed convs: phone GPUs support version 3, and a fused activation needs version 4."""

from __future__ import annotations

from typing import Any

from spinenet_tf.export.rewrites.flat_graph import FlatGraph, parse, serialize

NAME, VERSION = "TRANSPOSE_CONV", 3
ACTIVATIONS = {1: "RELU", 3: "RELU6"}  # the converter fuses no other `blocks.ACTIVATIONS`


def unfuse(content: bytes) -> bytes:
    """Return a .tflite in which each activation of a transposed conv is a separate operation."""
    model = parse(content)
    graph = FlatGraph(model)
    fused = [x for x in graph.operators if graph.is_a(x, NAME) and x.builtinOptions.fusedActivationFunction]
    if not fused:
        return content
    for conv in fused:
        _unfuse(graph, conv)
    graph.set_version(NAME, VERSION)
    return serialize(model)


def _unfuse(graph: FlatGraph, conv: Any) -> None:
    name, result = ACTIVATIONS[conv.builtinOptions.fusedActivationFunction], int(conv.outputs[0])
    before = graph.like(result, graph.shape(result))
    conv.outputs, conv.builtinOptions.fusedActivationFunction = [before], 0
    graph.operators.insert(graph.operators.index(conv) + 1, graph.activate(name, before, result))
