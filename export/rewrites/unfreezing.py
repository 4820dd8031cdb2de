"""The large weights of a frozen graph as variables, which a SavedModel has beside the graph and loads once."""

from __future__ import annotations

from typing import Any

import numpy as np

# TensorFlow has some 15 copies of each constant of a graph that it has loaded and run, and one of each variable. But
# with oneDNN it reorders a variable's kernel at each call, and a constant one once. The mobile nets have small kernels:
# with variables of every size, the smallest of these nets would take 1.6 times as long.
LARGE = 2**15  # numbers


def take_out_weights(graph: Any) -> dict[str, Any]:
    """Take the float constants of `LARGE` size out of a `GraphDef`, and return them as variables by tensor name."""
    import tensorflow as tf

    variables = {}
    for index in reversed(range(len(graph.node))):
        node = graph.node[index]
        if node.op == "Const" and node.attr["dtype"].type == tf.float32.as_datatype_enum:
            tensor = node.attr["value"].tensor
            if np.prod([dim.size for dim in tensor.tensor_shape.dim]) >= LARGE:
                variables[f"{node.name}:0"] = tf.Variable(tf.make_ndarray(tensor), trainable=False, name=node.name)
                del graph.node[index]
    return variables
