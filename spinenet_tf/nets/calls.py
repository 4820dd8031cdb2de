"""The layer calls of a functional model, which Keras 3.15 has no public API for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras


class Repeated(keras.Model):
    """A functional model that a larger one calls on several inputs per image, which its batch holds."""

    per_image = 1  # how many inputs there are per image


def calls(model: keras.Model, per_image: int = 1) -> Iterator[tuple[keras.layers.Layer, Any, int]]:
    """Yield the layer of each call, its first output, and the number of such outputs for one image.

    A conv that five levels share is yielded five times. The calls inside of a nested model are yielded instead of the
    model.
    """
    for nodes in model._nodes_by_depth.values():
        for node in nodes:
            if isinstance(node.operation, keras.Model):
                yield from calls(node.operation, per_image * getattr(node.operation, "per_image", 1))
            else:
                yield node.operation, node.outputs[0], per_image


def maker_of(tensor: Any) -> keras.layers.Layer:
    """Return the layer whose call output a symbolic tensor."""
    return tensor._keras_history.operation
