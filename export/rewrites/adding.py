"""Sums that Keras writes as biases, written as sums again: an exact rewrite of a frozen graph."""

from __future__ import annotations

from spinenet_tf.export.rewrites.frozen_graph import FrozenGraph


def restore_sums(graph: FrozenGraph) -> None:
    """Turn each bias that is computed from the image into the sum of two maps that the model has there.

    For one image, `keras.ops.add` takes a map of one pixel `[1, 1, 1, C]` for a bias, and squeezes it to `[C]`. Tools
    expect a bias to be a constant: tf2onnx gave one conv two of them.
    """
    for node in graph:
        if node.op == "BiasAdd" and graph.source(node.input[1]).op != "Const":
            graph.become_sum(node)
