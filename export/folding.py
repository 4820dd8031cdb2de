"""Batch normalisation folded into the convs before it: an exact rewrite of a frozen graph, in float."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

_CONVS = ("Conv2D", "DepthwiseConv2dNative")
_SAME_VALUES = ("Identity", "Reshape", "Squeeze")  # what Keras puts between a parameter and its use


def fold_batch_norms(graph: Any, outputs: list[str]) -> Any:
    """Return a `GraphDef` of constants with the BN behind each conv folded into it; `outputs` are tensor names.

    A kernel that one conv reads takes BN's scale, and a bias the rest. A kernel that convs share, as the head's do
    over the levels, stays one, for a copy per level would be several times larger: there only the conv's bias goes into
    BN's mean, and TensorFlow fuses conv, BN and activation into one kernel when it loads the graph, which the bias
    between them had prevented. BN that follows no conv is left alone.
    """
    import tensorflow as tf

    folded = tf.compat.v1.GraphDef()
    folded.CopyFrom(graph)
    for node in folded.node:
        # Constants have no order to keep, and these edges would keep the kernels that are replaced.
        data = [name for name in node.input if not name.startswith("^")]
        node.input[:] = data
    rewriter = _Rewriter(folded)
    for node in list(folded.node):
        if node.op == "FusedBatchNormV3" and not node.attr["is_training"].b:
            rewriter.fold(node)
    return _reachable(folded, {_node_of(name) for name in outputs})


def _reachable(graph: Any, wanted: set[str]) -> Any:
    """Return the part of a graph that the wanted nodes and the inputs need."""
    import tensorflow as tf

    nodes = {node.name: node for node in graph.node}
    found = {node.name for node in graph.node if node.op == "Placeholder"}
    stack = list(wanted)
    while stack:
        name = stack.pop()
        if name not in found:
            found.add(name)
            stack += [_node_of(source) for source in nodes[name].input]
    part = tf.compat.v1.GraphDef(versions=graph.versions, library=graph.library)
    part.node.extend(node for node in graph.node if node.name in found)
    return part


class _Rewriter:
    """Changes the nodes of a graph in place."""

    def __init__(self, graph: Any):
        self._graph = graph
        self._nodes = {node.name: node for node in graph.node}
        self._readers = Counter(_node_of(name) for node in graph.node for name in node.input)
        self._kernels = Counter(self._source(node.input[1]).name for node in graph.node if node.op in _CONVS)

    def fold(self, norm: Any) -> None:
        """Fold one BN node, if a conv that nothing else reads comes before it."""
        before = self._nodes[_node_of(norm.input[0])]
        bias = before if before.op == "BiasAdd" else None
        conv = self._nodes[_node_of(bias.input[0])] if bias else before
        if conv.op not in _CONVS or any(self._readers[node.name] != 1 for node in (before, conv)):
            return
        gamma, beta, mean, variance = (self._values(name) for name in norm.input[1:5])
        if bias:
            mean = mean - self._values(bias.input[1])
        if self._kernels[self._source(conv.input[1]).name] > 1:
            norm.input[0] = conv.name
            norm.input[3] = self._constant(f"{norm.name}/folded_mean", mean)
            return
        scale = gamma / np.sqrt(variance + norm.attr["epsilon"].f)
        kernel = self._array(conv.input[1])
        # The last axis is the output channel; a depthwise kernel is [height, width, channel, multiplier].
        by_channel = scale.reshape(kernel.shape[2:]) if conv.op != "Conv2D" else scale
        conv.input[1] = self._constant(f"{conv.name}/folded_kernel", kernel * by_channel)
        self._become_bias(norm, conv, beta - mean * scale)

    def _become_bias(self, norm: Any, conv: Any, values: np.ndarray) -> None:
        """Turn the BN node into a bias, under its own name, which the nodes behind it read."""
        import tensorflow as tf

        constant = self._constant(f"{norm.name}/folded_bias", values)
        data_format = norm.attr["data_format"]
        bias = tf.compat.v1.NodeDef(name=norm.name, op="BiasAdd", input=[conv.name, constant])
        bias.attr["T"].CopyFrom(norm.attr["T"])
        bias.attr["data_format"].CopyFrom(data_format)
        norm.CopyFrom(bias)

    def _constant(self, name: str, values: np.ndarray) -> str:
        import tensorflow as tf

        node = self._graph.node.add(name=name, op="Const")
        node.attr["dtype"].type = tf.float32.as_datatype_enum
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(values.astype(np.float32)))
        return name

    def _source(self, name: str) -> Any:
        """Return the node whose values arrive at an input, whatever their shape there."""
        node = self._nodes[_node_of(name)]
        return self._source(node.input[0]) if node.op in _SAME_VALUES else node

    def _array(self, name: str) -> np.ndarray:
        import tensorflow as tf

        return tf.make_ndarray(self._source(name).attr["value"].tensor).astype(np.float64)

    def _values(self, name: str) -> np.ndarray:
        return self._array(name).ravel()


def _node_of(name: str) -> str:
    return name.partition(":")[0]
