"""Restore sums that Keras writes as biases: an exact rewrite of a frozen graph."""

from __future__ import annotations

from spinenet_tf.export.rewrites.frozen_graph import FrozenGraph


def restore_sums(graph: FrozenGraph) -> None:
    """Turn each bias that is not constant back into the sum of two maps.

    For a batch of one image, `keras.ops.add` turns a summand `[1, 1, 1, C]` into a bias and squeezes it to `[C]`. Tools
    expect constant biases: tf2onnx wrote a conv with two biases.
    """
    for node in graph:
        if node.op == "BiasAdd" and graph.source(node.input[1]).op != "Const":
            graph.become_sum(node)
