"""Image sizes that phone GPUs and NPUs support: one resize operation picks the same pixels as the net."""

from __future__ import annotations

from itertools import count

import keras

from spinenet_tf.nets.backbone import MIN_SIDE
from spinenet_tf.nets.calls import calls
from spinenet_tf.nets.resample import Resampling


def resampling_layers(model: keras.Model) -> set[Resampling]:
    """Return the layers of a model, and of its backbone, that resample by nearest neighbor."""
    return {layer for layer, *_ in calls(model) if isinstance(layer, Resampling)}


def size_problem(model: keras.Model) -> str | None:
    """Return why the targets gpu and npu do not support a model's image size, with the nearest sides; or None.

    The model must have a static input size.
    """
    height, width = model.input_shape[1:3]
    layers = resampling_layers(model)
    sides = {name: _nearest_sides(layers, side) for name, side in (("height", height), ("width", width))}
    bad = {name: text for name, text in sides.items() if text}
    if not bad:
        return None
    text = sides["height"] if height == width else ", ".join(f"{name} {side}" for name, side in bad.items())
    return (
        "The resize operation of the targets gpu and npu would pick other pixels than this net at this size. The "
        f"nearest sides that they support: {text}. Received: image_size={(height, width)}"
    )


def is_resizable(layers: set[Resampling], side: int) -> bool:
    """Return whether each of these layers can be one resize operation at an image side of `side` px."""
    return all(layer.is_resizable(side) for layer in layers)


def _nearest_sides(layers: set[Resampling], side: int) -> str:
    """Return the next smaller and larger side that is resizable, or an empty string if `side` is.

    Multiples of 2^level always are.
    """
    if is_resizable(layers, side):
        return ""
    smaller = next((one for one in range(side - 1, MIN_SIDE - 1, -1) if is_resizable(layers, one)), None)
    larger = next(one for one in count(side + 1) if is_resizable(layers, one))
    return f"{larger}" if smaller is None else f"{smaller} or {larger}"
