"""Convert a model to a `tf.function` with one input `images`, one named output per map, and static sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras

from spinenet_tf.export.rewrites.adding import restore_sums
from spinenet_tf.export.rewrites.freezing import freeze
from spinenet_tf.export.rewrites.frozen_graph import FrozenGraph
from spinenet_tf.export.rewrites.unfreezing import take_out_weights
from spinenet_tf.heads.head import nms_layers
from spinenet_tf.inference.keras_model import check_backend, image_shape
from spinenet_tf.inference.naming import INPUT, flatten
from spinenet_tf.nets.resizable import resampling_layers, size_problem
from spinenet_tf.ops.decoding import Nms
from spinenet_tf.ops.pixels import OFFSET, SCALE

Rewrite = Callable[[FrozenGraph], None]


def raw_function(
    model: keras.Model,
    batch_size: int | None,
    *,
    upsampling: str = "gather",
    nms: Nms | None = None,
    rewrites: Sequence[Rewrite] = (),
    variables: bool = False,
) -> Any:
    """Return a `tf.function` from `images` `[batch_size, H, W, 3]`, normalized, to the flat outputs in float32.

    The weights are constants of its graph, since the TFLite converter would keep variables as operations. With
    `variables`, large weights are new variables of the function (see `unfreezing`). Sizes are static, including the
    batch unless `batch_size` is None. `upsampling` is that of `nearest.pick`; `nms` replaces `greedy_nms` in nets that
    select detections. `rewrites` rewrite the graph in order;
    TFLite's converter folds BN itself.

    Raises:
        ValueError: as `check_backend` and `image_shape` do, `batch_size` is not positive, or `upsampling` is "resize"
            and impossible at the image size of the model; the message names the nearest sizes.
    """
    check_backend()
    import tensorflow as tf

    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, or None for any. Received: batch_size={batch_size}")
    spec = tf.TensorSpec((batch_size, *image_shape(model)), tf.float32, name=INPUT)

    @tf.function(input_signature=[spec], autograph=False)
    def traced(images):
        return flatten(model(images, training=False))

    if upsampling == "resize" and (problem := size_problem(model)):
        raise ValueError(problem)
    with _with("upsampling", upsampling, resampling_layers(model)), _with("nms", nms, nms_layers(model)):
        function = traced.get_concrete_function()
    graph, source, names = freeze(function)
    graph = _rewritten(graph, names, (restore_sums, *rewrites))
    weights = take_out_weights(graph) if variables else {}
    structure = function.structured_outputs

    @tf.function(input_signature=[spec], autograph=False)
    def raw(images):
        given = {source: images} | {name: weight.value() for name, weight in weights.items()}
        outputs = tf.graph_util.import_graph_def(graph, given, names, name="")
        return tf.nest.pack_sequence_as(structure, outputs)

    return raw


@contextmanager
def _with(attribute: str, value: Any, layers: Iterable[Any]) -> Iterator[None]:
    """Trace layers with another way to compute the same within the block."""
    before = {layer: getattr(layer, attribute) for layer in layers}
    try:
        for layer in before:
            setattr(layer, attribute, value)
        yield
    finally:
        for layer, earlier in before.items():
            setattr(layer, attribute, earlier)


def _rewritten(graph: Any, names: list[str], rewrites: Sequence[Rewrite]) -> Any:
    rewritten = FrozenGraph(graph)
    for rewrite in rewrites:
        rewrite(rewritten)
    return rewritten.needed(names)


def function_of(raw: Any, inputs: str) -> Any:
    """Return `raw`, which takes normalized images, or for `inputs="uint8"` the same function of pixels."""
    return raw if inputs == "float32" else pixel_function(raw, inputs)


def pixel_function(raw: Any, dtype: str) -> Any:
    """Return a `tf.function` from RGB `images` in 0..255, of the same shape, to the outputs of `raw`.

    One depthwise conv normalizes the images: when quantized, it has one scale per channel.
    """
    import tensorflow as tf

    spec = tf.TensorSpec(raw.input_signature[0].shape, dtype, name=INPUT)

    @tf.function(input_signature=[spec], autograph=False)
    def from_pixels(images):
        kernel = SCALE[None, None, :, None]
        return raw(tf.nn.depthwise_conv2d(tf.cast(images, tf.float32), kernel, [1] * 4, "VALID") + OFFSET)

    return from_pixels
