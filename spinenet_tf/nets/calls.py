"""The calls of layers that a functional model is made of: Keras 3.15 tells of them nowhere in public."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras


def calls(model: keras.Model) -> Iterator[tuple[keras.layers.Layer, Any]]:
    """Yield the layer and the first output of each call: a conv that five levels share comes five times.

    A model within the model is not yielded, but its calls are.
    """
    for nodes in model._nodes_by_depth.values():
        for node in nodes:
            if isinstance(node.operation, keras.Model):
                yield from calls(node.operation)
            else:
                yield node.operation, node.outputs[0]


def maker_of(tensor: Any) -> keras.layers.Layer:
    """Return the layer whose call made a tensor of a graph."""
    return tensor._keras_history.operation
