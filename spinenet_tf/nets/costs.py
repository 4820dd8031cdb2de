"""Count the parameters and multiply-adds of a model."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from concurrent import futures  # whose attributes are imported at first use
from typing import TypeVar

import keras

from spinenet_tf.nets.calls import calls

Model = TypeVar("Model", bound=keras.Model)
# The layers with kernels: their multiply-adds count, and training for int8 rounds their kernels.
CONVS = (
    keras.layers.Conv2D,
    keras.layers.Conv2DTranspose,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
)


def without_values(build: Callable[[], Model]) -> Model:
    """Return the model of `build()` with weights that have a shape but no values.

    Initializing up to 160 million weights would take most of the time of counting them.
    """

    def build_in_scope() -> Model:
        with keras.StatelessScope(initialize_variables=False):
            return build()

    # Keras's global state is per thread: the list of uninitialized weights ends with this thread. In the caller's
    # thread, the next model to be built would initialize them all.
    with futures.ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(build_in_scope).result()


def count_params(model: keras.Model) -> int:
    """Return the number of trainable parameters."""
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


def multiply_adds(model: keras.Model, published_order: bool = False) -> int:
    """Return the multiply-adds of all convs and dense layers for one image of the model's static input size.

    With `published_order`, the expanding conv of an upsampling connection counts after upsampling, where the published
    code runs it, instead of before, where this package runs it.

    Raises:
        ValueError: a side of the model's input is unknown.
    """
    return sum(multiply_adds_by_layer(model, published_order).values())


def multiply_adds_by_layer(model: keras.Model, published_order: bool = False) -> dict[str, int]:
    """Return the multiply-adds of each conv and dense layer, by its name: see `multiply_adds`."""
    if None in model.input_shape[1:]:
        raise ValueError(f"Counting multiply-adds needs a static input size. Received: input_shape={model.input_shape}")
    found = [(layer, times * math.prod(output.shape[1:-1])) for layer, output, times in calls(model)]
    pixels_after = {layer.name.removesuffix("_up"): pixels for layer, pixels in found if layer.name.endswith("_up")}
    counts: Counter[str] = Counter()
    for layer, pixels in found:
        if isinstance(layer, (*CONVS, keras.layers.Dense)):
            runs_at = pixels_after.get(layer.name.removesuffix("_expand"), pixels) if published_order else pixels
            counts[layer.name] += runs_at * per_pixel(layer)
    return dict(counts)


def per_pixel(conv: keras.layers.Layer) -> int:
    """Return the multiply-adds per output pixel: one for each entry of the kernels (a separable conv has two kernels).

    A dense layer has one output pixel.

    In a transposed conv, only 1 / stride^2 of the kernel reaches each output pixel.
    """
    entries = sum(math.prod(weight.shape) for weight in conv.trainable_weights if len(weight.shape) > 1)
    return entries // math.prod(conv.strides) if isinstance(conv, keras.layers.Conv2DTranspose) else entries
