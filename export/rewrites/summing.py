"""The sum of two pointwise convs as one conv of both inputs: an exact rewrite of a frozen graph, in float."""

from __future__ import annotations

from typing import Any

import numpy as np

from spinenet_tf.export.rewrites.frozen_graph import SUMS, FrozenGraph


def sum_in_convs(graph: FrozenGraph) -> None:
    """Turn each sum of two 1x1 convs, as where a block of a SpineNet joins its parents, into one conv.

    `A x + B y` is `[A B]` of `x` and `y`, joined along the channels: the wide sum is written once, where it was
    written, written again and read. Only where `x` and `y` have no more channels than it, so that to join them costs
    less, and where no one else reads the convs or their kernels. It expects BN to be folded: behind each conv is a
    bias.
    """
    for node in graph:
        if node.op in SUMS:
            biases = [graph.node(name) for name in node.input]
            if all(_ends_pointwise_conv(graph, bias) for bias in biases):
                _join(graph, node, biases, [graph.node(bias.input[0]) for bias in biases])


def _ends_pointwise_conv(graph: FrozenGraph, bias: Any) -> bool:
    """Tell whether a node is the bias of a pointwise conv that nothing else reads, with a kernel of its own."""
    if not graph.ends_conv(bias):
        return False
    conv = graph.node(bias.input[0])
    if graph.shares_kernel(conv):
        return False
    return graph.array(conv.input[1]).shape[:2] == (1, 1) and set(conv.attr["strides"].list.i) == {1}


def _join(graph: FrozenGraph, node: Any, biases: list[Any], convs: list[Any]) -> None:
    """Turn a sum into a bias, under its own name, behind a conv of both inputs, if that pays."""
    import tensorflow as tf

    kernel = np.concatenate([graph.array(conv.input[1]) for conv in convs], axis=2)
    if kernel.shape[2] > kernel.shape[3]:
        return
    axis = graph.constant(f"{node.name}/axis", np.array(3, np.int32))
    inputs = [*(conv.input[0] for conv in convs), axis]
    joined = graph.add(f"{node.name}/joined", "ConcatV2", inputs, T=tf.float32, Tidx=tf.int32)
    joined.attr["N"].i = len(convs)
    conv = graph.add(f"{node.name}/conv", "Conv2D", [joined.name, graph.constant(f"{node.name}/kernel", kernel)])
    for name, attribute in convs[0].attr.items():
        conv.attr[name].CopyFrom(attribute)
    graph.become_bias(node, biases[0], conv, np.sum([graph.values(bias.input[1]) for bias in biases], axis=0))
