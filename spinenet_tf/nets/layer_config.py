"""What the config of a model has in common with that of any Keras layer: name, dtype policy, and frozen weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import keras

Model = TypeVar("Model", bound=keras.Model)

FROZEN = ("trainable", "frozen")


def layer_config(model: keras.Model) -> dict[str, Any]:
    """Return the name, the dtype policy and the frozen weights of a model, as plain JSON types.

    `frozen` has the names of the frozen layers of a trainable model. Models in it have their own config.
    """
    own = [layer for layer in model.layers if layer.weights and not isinstance(layer, keras.Model)]
    return {
        "name": model.name,
        "dtype": keras.dtype_policies.serialize(model.dtype_policy),
        "trainable": model.trainable,
        "frozen": [layer.name for layer in own if model.trainable and not layer.trainable],
    }


def arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a config that a model's constructor takes: all but what `freeze` applies."""
    return {name: value for name, value in config.items() if name not in FROZEN}


def freeze(model: Model, config: Mapping[str, Any]) -> Model:
    """Freeze the weights that are frozen in a config of `layer_config`, and return the model.

    Configs of earlier versions do not say what is frozen.
    """
    for name in config.get("frozen", ()):
        model.get_layer(name).trainable = False
    if not config.get("trainable", True):
        model.trainable = False
    return model
