"""Freeze the graph of a TensorFlow function: replace variables with constants."""

from __future__ import annotations

from typing import Any


def freeze(function: Any) -> tuple[Any, str, list[str]]:
    """Return a concrete function's graph with its variables as constants, and the names of its input and outputs."""
    # This is private in TensorFlow 2.21; TFLite's converter imports it from the same module.
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    frozen = convert_variables_to_constants_v2(function, lower_control_flow=False)
    graph = frozen.graph.as_graph_def()
    for node in graph.node:
        # This attribute is for training only; with it, each load of the artifact warns about missing gradients.
        node.attr.pop("_gradient_op_type", None)
    return graph, frozen.inputs[0].name, [output.name for output in frozen.outputs]
