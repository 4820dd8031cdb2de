"""Move the large weights of a frozen graph to variables, which a SavedModel stores separately and loads once."""

from __future__ import annotations

from typing import Any

import numpy as np

# After loading and running a graph, TensorFlow has about 15 copies of each constant, and one of each variable. But
# oneDNN reorders a kernel at each call if it is a variable, and only once if it is a constant. The mobile nets have
# small kernels: with all weights as variables, the smallest of these nets would take 1.6 times as long.
LARGE = 2**15  # elements


def take_out_weights(graph: Any) -> dict[str, Any]:
    """Move float constants of at least `LARGE` elements out of a `GraphDef`; return variables by tensor name."""
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
