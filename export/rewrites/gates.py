"""Keep the constant of squeeze-and-excitation gates: an exact rewrite of a frozen graph, up to rounding."""

from __future__ import annotations

from typing import Any

from spinenet_tf.export.rewrites.frozen_graph import FrozenGraph


def clip_after_scaling(graph: FrozenGraph) -> None:
    """Turn `relu6(x) * c` into `min(relu(x * c), 6 * c)`.

    The published mobile nets have c = 0.16667, which OpenVINO takes for 1 / 6: it fuses the gate to its hard sigmoid,
    and the outputs differ a hundred times more from Keras than those of ONNX Runtime (2026.4).
    """
    for node in graph:
        if node.op == "Mul":
            for clipped, constant in (node.input, reversed(node.input)):
                if graph.node(clipped).op == "Relu6" and _is_scalar(graph, constant):
                    _rewrite(graph, node, graph.node(clipped).input[0], constant)
                    break


def _is_scalar(graph: FrozenGraph, name: str) -> bool:
    return graph.source(name).op == "Const" and graph.array(name).size == 1


def _rewrite(graph: FrozenGraph, node: Any, source: str, constant: str) -> None:
    import tensorflow as tf

    types = {"T": tf.float32}
    scaled = graph.add(f"{node.name}/scaled", "Mul", (source, constant), **types)
    positive = graph.add(f"{node.name}/positive", "Relu", (scaled.name,), **types)
    node.op, node.input[:] = "Minimum", (positive.name, graph.constant(f"{node.name}/top", 6 * graph.array(constant)))
