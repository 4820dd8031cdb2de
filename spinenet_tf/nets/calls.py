"""The layer calls of a functional model, which Keras 3.15 has no public API for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras


def calls(model: keras.Model) -> Iterator[tuple[keras.layers.Layer, Any]]:
    """Yield the layer and the first output of each call: a conv that five levels share is yielded five times.

    The calls inside of a nested model are yielded instead of the model.
    """
    for nodes in model._nodes_by_depth.values():
        for node in nodes:
            if isinstance(node.operation, keras.Model):
                yield from calls(node.operation)
            else:
                yield node.operation, node.outputs[0]


def maker_of(tensor: Any) -> keras.layers.Layer:
    """Return the layer whose call output a symbolic tensor."""
    return tensor._keras_history.operation
