"""Edit a frozen graph: its nodes, their readers and their constants."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

CONVS = ("Conv2D", "DepthwiseConv2dNative")
SUMS = ("Add", "AddV2")
_SAME_VALUES = ("Identity", "Reshape", "Squeeze")  # Keras inserts these between a parameter and its use


class FrozenGraph:
    """A copy of a frozen `GraphDef`, whose nodes may be changed in place; inputs are tensor names."""

    def __init__(self, graph: Any):
        import tensorflow as tf

        self._graph = tf.compat.v1.GraphDef()
        self._graph.CopyFrom(graph)
        for node in self._graph.node:
            # Drop control edges: constants need no order, and the edges would keep replaced kernels alive.
            data = [name for name in node.input if not name.startswith("^")]
            node.input[:] = data
        self._nodes = {node.name: node for node in self._graph.node}
        self._readers = Counter(node_of(name) for node in self._graph.node for name in node.input)
        self._kernels = Counter(self.source(node.input[1]).name for node in self._graph.node if node.op in CONVS)

    def __iter__(self) -> Iterator[Any]:
        """Iterate over the current nodes; nodes that are added meanwhile are not included."""
        return iter(list(self._graph.node))

    def node(self, name: str) -> Any:
        """Return the node that produces an input."""
        return self._nodes[node_of(name)]

    def source(self, name: str) -> Any:
        """Return the node that produces an input's values, before reshapes and identities."""
        node = self.node(name)
        return self.source(node.input[0]) if node.op in _SAME_VALUES else node

    def array(self, name: str) -> np.ndarray:
        """Return the constant values of an input in float64."""
        import tensorflow as tf

        return tf.make_ndarray(self.source(name).attr["value"].tensor).astype(np.float64)

    def values(self, name: str) -> np.ndarray:
        """Return the constant values of an input, flattened."""
        return self.array(name).ravel()

    def is_read_once(self, *nodes: Any) -> bool:
        """Return whether each of the nodes has a single reader."""
        return all(self._readers[node.name] == 1 for node in nodes)

    def ends_conv(self, node: Any) -> bool:
        """Return whether a node is the bias of a conv, and both have a single reader."""
        if node.op != "BiasAdd":
            return False
        conv = self.node(node.input[0])
        return conv.op == "Conv2D" and self.is_read_once(node, conv)

    def shares_kernel(self, conv: Any) -> bool:
        """Return whether another conv has the same kernel."""
        return self._kernels[self.source(conv.input[1]).name] > 1

    def add(self, name: str, op: str, inputs: Iterable[str] = (), **types: Any) -> Any:
        """Add a node with the dtype attributes `types`, and return it."""
        node = self._graph.node.add(name=name, op=op, input=inputs)
        for attribute, dtype in types.items():
            node.attr[attribute].type = dtype.as_datatype_enum
        self._nodes[name] = node
        self._readers.update(node_of(source) for source in inputs)
        return node

    def become_bias(self, node: Any, like: Any, conv: Any, values: np.ndarray) -> None:
        """Turn a node into the bias of a conv; it keeps its name, so its readers need no change.

        Dtype and layout are those of the node `like`.
        """
        import tensorflow as tf

        constant = self.constant(f"{node.name}/folded_bias", values)
        bias = tf.compat.v1.NodeDef(name=node.name, op="BiasAdd", input=[conv.name, constant])
        for attribute in ("T", "data_format"):
            bias.attr[attribute].CopyFrom(like.attr[attribute])
        self._readers.subtract(node_of(name) for name in node.input)
        self._readers.update(bias.input)
        node.CopyFrom(bias)

    def become_sum(self, bias: Any) -> None:
        """Turn a bias whose values come from a `Squeeze` into a sum with the input of the `Squeeze`."""
        squeeze = self.node(bias.input[1])
        bias.op, bias.input[1] = "AddV2", squeeze.input[0]
        del bias.attr["data_format"]
        self._readers[node_of(squeeze.input[0])] += 1
        self._readers[squeeze.name] -= 1
        if not self._readers[squeeze.name]:
            self._readers.subtract(node_of(name) for name in squeeze.input)

    def constant(self, name: str, values: np.ndarray) -> str:
        """Add a constant and return its name; floats become float32."""
        import tensorflow as tf

        values = values.astype(np.float32) if values.dtype.kind == "f" else values
        node = self.add(name, "Const", dtype=tf.as_dtype(values.dtype))
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(values))
        return name

    def needed(self, outputs: Iterable[str]) -> Any:
        """Return a `GraphDef` of the nodes that the tensors `outputs` depend on, and the placeholders."""
        import tensorflow as tf

        found = {node.name for node in self._graph.node if node.op == "Placeholder"}
        stack = [node_of(name) for name in outputs]
        while stack:
            name = stack.pop()
            if name not in found:
                found.add(name)
                stack += [node_of(source) for source in self._nodes[name].input]
        part = tf.compat.v1.GraphDef(versions=self._graph.versions, library=self._graph.library)
        part.node.extend(node for node in self._graph.node if node.name in found)
        return part


def node_of(name: str) -> str:
    """Return the name of the node that produces a tensor."""
    return name.partition(":")[0]
