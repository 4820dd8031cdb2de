"""Fold batch normalization into the preceding convs: an exact rewrite of a frozen graph, in float."""

from __future__ import annotations

from typing import Any

import numpy as np

from spinenet_tf.export.rewrites.frozen_graph import CONVS, FrozenGraph


def fold_batch_norms(graph: FrozenGraph) -> None:
    """Fold the BN after each conv into the conv.

    A kernel with a single reader is multiplied by BN's scale, and a bias gets the rest. A kernel that several convs
    share, as in the head across levels, is not copied, since copies per level would be several times larger. There,
    only the conv's bias is folded into BN's mean. Without the bias in between, TensorFlow fuses conv, BN and activation
    into one kernel when it loads the graph. A BN without a preceding conv is unchanged.
    """
    for node in graph:
        if node.op == "FusedBatchNormV3" and not node.attr["is_training"].b:
            _fold(graph, node)


def _fold(graph: FrozenGraph, norm: Any) -> None:
    """Fold one BN node if it is the only reader of a preceding conv."""
    before = graph.node(norm.input[0])
    bias = before if before.op == "BiasAdd" else None
    conv = graph.node(bias.input[0]) if bias else before
    if conv.op not in CONVS or not graph.is_read_once(before, conv):
        return
    gamma, beta, mean, variance = (graph.values(name) for name in norm.input[1:5])
    if bias:
        mean = mean - graph.values(bias.input[1])
    if graph.shares_kernel(conv):
        norm.input[0] = conv.name
        norm.input[3] = graph.constant(f"{norm.name}/folded_mean", mean)
        return
    scale = gamma / np.sqrt(variance + norm.attr["epsilon"].f)
    kernel = graph.array(conv.input[1])
    # The last axis is the output channel; a depthwise kernel is [height, width, channel, multiplier].
    by_channel = scale.reshape(kernel.shape[2:]) if conv.op != "Conv2D" else scale
    conv.input[1] = graph.constant(f"{conv.name}/folded_kernel", kernel * by_channel)
    graph.become_bias(norm, norm, conv, beta - mean * scale)
