"""Make sums with convs thread-safe: an exact rewrite of a frozen graph, in float."""

from __future__ import annotations

from typing import Any

from spinenet_tf.export.rewrites.frozen_graph import SUMS, FrozenGraph


def subtract_convs(graph: FrozenGraph) -> None:
    """Turn `x + conv` into `x - conv` with negated kernel and bias, which is bit-identical.

    TensorFlow fuses conv, bias and addition into one operation, but not subtraction. If `x` has other readers, oneDNN's
    kernel of the fused operation adds to a copy of `x`, which it makes through two member variables that all calls
    share: calls from several threads returned wrong detections or crashed the process (TensorFlow 2.20, 2.21).
    """
    for node in graph:
        if node.op in SUMS:
            for conv, other in (node.input, reversed(node.input)):
                if graph.ends_conv(graph.node(conv)) and graph.source(other).op != "Const":
                    _negate(graph, graph.node(conv))
                    node.op, node.input[:] = "Sub", (other, conv)
                    break


def _negate(graph: FrozenGraph, bias: Any) -> None:
    """Negate the kernel and the bias of a conv."""
    for node in (graph.node(bias.input[0]), bias):
        node.input[1] = graph.constant(f"{node.name}/negative", -graph.array(node.input[1]))
