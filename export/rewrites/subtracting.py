"""Sums with convs that threads may compute at the same time: an exact rewrite of a frozen graph, in float."""

from __future__ import annotations

from typing import Any

from spinenet_tf.export.rewrites.frozen_graph import SUMS, FrozenGraph


def subtract_convs(graph: FrozenGraph) -> None:
    """Turn `x + conv` into `x - conv` of the negative kernel and bias, which is the same to the last bit.

    TensorFlow fuses conv, bias and addition to one operation, but no subtraction. oneDNN's kernel of that operation
    adds to a copy of `x` where others still read it, and makes the copy by way of two members of its own, which are the
    same for all calls: calls from several threads gave wrong detections or ended the process (TensorFlow 2.20, 2.21).
    """
    for node in graph:
        if node.op in SUMS:
            for conv, other in (node.input, reversed(node.input)):
                if graph.ends_conv(graph.node(conv)) and graph.source(other).op != "Const":
                    _negate(graph, graph.node(conv))
                    node.op, node.input[:] = "Sub", (other, conv)
                    break


def _negate(graph: FrozenGraph, bias: Any) -> None:
    """Give a conv and its bias constants of the other sign."""
    for node in (graph.node(bias.input[0]), bias):
        node.input[1] = graph.constant(f"{node.name}/negative", -graph.array(node.input[1]))
