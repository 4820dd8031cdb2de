"""The flat, named form of a model: one input `images`, one named output per map, all sizes known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from spinenet_tf.export.rewrites.adding import restore_sums
from spinenet_tf.export.rewrites.folding import fold_batch_norms
from spinenet_tf.export.rewrites.frozen_graph import FrozenGraph
from spinenet_tf.export.rewrites.summing import sum_in_convs
from spinenet_tf.export.rewrites.unfreezing import take_out_weights
from spinenet_tf.heads.classifier import Classifier
from spinenet_tf.heads.retinanet import RetinaNet
from spinenet_tf.nets.backbone import Backbone
from spinenet_tf.nets.resample import UPSAMPLING

INPUT = "images"
LOGITS = "logits"
Rewrite = Callable[[FrozenGraph], None]
FOLDED: tuple[Rewrite, ...] = (fold_batch_norms, sum_in_convs)  # BN into the convs before it, sums of convs as one
TASKS = {RetinaNet: "detection", Classifier: "classification", Backbone: "backbone"}


def task_of(model: keras.Model) -> str:
    """Return "detection", "classification" or "backbone".

    Raises:
        ValueError: the model is none of this package's.
    """
    for kind, task in TASKS.items():
        if isinstance(model, kind):
            return task
    raise ValueError(f"Only models of spinenet_tf can be exported. Received: model={type(model).__name__}")


def backbone_of(model: keras.Model) -> Backbone:
    """Return the backbone of a detector or classifier, or the backbone itself."""
    return model if isinstance(model, Backbone) else model.backbone


def image_shape(model: keras.Model) -> tuple[int, int, int]:
    """Return `(H, W, 3)` of a model that can be exported.

    Raises:
        ValueError: a side is unknown, the net computes in half precision, or Keras runs on another backend than
            TensorFlow; the message says what to do.
    """
    height, width, channels = shape = backbone_of(model).image_shape
    static = f"a static input_shape=(H, W, 3) in float32, load the same weights and export that. Received: {shape=}"
    if height is None or width is None:
        raise ValueError(f"An exported model has one image size: build the model with {static}")
    halves = sorted({layer.compute_dtype for layer in backbone_of(model).layers} - {"float32"})
    if halves:
        raise ValueError(f"An exported model computes in float32: build it with {static}, dtypes={halves}")
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise ValueError(
            "Exporting needs Keras on TensorFlow: set KERAS_BACKEND=tensorflow, the weights files are the same. "
            f"Received: backend={backend!r}"
        )
    return height, width, channels


def flatten(outputs: Any) -> dict[str, Any]:
    """Name every tensor of a model's output: `class_logits_P3`, `box_deltas_P3`, ..., `logits`, or `P3`, ..."""
    if not isinstance(outputs, Mapping):
        return {LOGITS: outputs}
    flat: dict[str, Any] = {}
    for name, value in outputs.items():
        flat |= {f"{name}_{level}": x for level, x in value.items()} if isinstance(value, Mapping) else {name: value}
    return flat


def nest(flat: Mapping[str, Any]) -> Any:
    """Undo `flatten`: return what calling the Keras model returns, the levels in ascending order."""
    if LOGITS in flat:
        return flat[LOGITS]
    nested: dict[str, Any] = {}
    for name in sorted(flat):
        output, _, level = name.rpartition("_")
        (nested.setdefault(output, {}) if output else nested)[level] = flat[name]
    return nested


def raw_function(
    model: keras.Model,
    batch_size: int | None,
    *,
    upsampling: str = "resize",
    rewrites: Sequence[Rewrite] = (),
    variables: bool = False,
) -> Any:
    """Return a `tf.function` from `images` `[batch_size, H, W, 3]`, normalised, to the flat outputs in float32.

    The weights are constants of its graph: the TFLite converter would keep variables as operations. With `variables`,
    the large ones are variables, of which the function has its own (see `weights`). Sizes are static, and so is the
    batch unless `batch_size` is None. `upsampling` is written as `resample.UPSAMPLING` says. The graph is
    rewritten by `rewrites`, in this order: `FOLDED` is what TFLite's converter does by itself, and more.

    Raises:
        ValueError: as `image_shape` does, or `batch_size` is not positive.
    """
    import tensorflow as tf

    if batch_size is not None and batch_size < 1:
        raise ValueError(f"A batch is at least 1, or None for any. Received: batch_size={batch_size}")
    spec = tf.TensorSpec((batch_size, *image_shape(model)), tf.float32, name=INPUT)

    @tf.function(input_signature=[spec], autograph=False)
    def traced(images):
        previous = UPSAMPLING.set(upsampling)
        try:
            return flatten(model(images, training=False))
        finally:
            UPSAMPLING.reset(previous)

    graph, source, names = _frozen(traced.get_concrete_function())
    graph = _rewritten(graph, names, (restore_sums, *rewrites))
    weights = take_out_weights(graph) if variables else {}
    structure = traced.get_concrete_function().structured_outputs

    @tf.function(input_signature=[spec], autograph=False)
    def raw(images):
        given = {source: images} | {name: weight.value() for name, weight in weights.items()}
        outputs = tf.graph_util.import_graph_def(graph, given, names, name="")
        return tf.nest.pack_sequence_as(structure, outputs)

    return raw


def _rewritten(graph: Any, names: list[str], rewrites: Sequence[Rewrite]) -> Any:
    rewritten = FrozenGraph(graph)
    for rewrite in rewrites:
        rewrite(rewritten)
    return rewritten.needed(names)


def pixel_function(raw: Any, dtype: str) -> Any:
    """Return a `tf.function` from RGB `images` of the same shape in 0..255 to the outputs of `raw`.

    One depthwise conv normalises them: its integer form has a scale per channel.
    """
    import tensorflow as tf

    from spinenet_tf.data.images import MEAN, STD

    mean, std = np.array(MEAN, np.float32), np.array(STD, np.float32)
    spec = tf.TensorSpec(raw.input_signature[0].shape, dtype, name=INPUT)

    @tf.function(input_signature=[spec], autograph=False)
    def from_pixels(images):
        kernel = (1 / (255 * std))[None, None, :, None]
        return raw(tf.nn.depthwise_conv2d(tf.cast(images, tf.float32), kernel, [1] * 4, "VALID") - mean / std)

    return from_pixels


def _frozen(function: Any) -> tuple[Any, str, list[str]]:
    """Return a concrete function's graph with its variables as constants, and the names of its input and outputs."""
    # TensorFlow has no public name for it; TFLite's own converter imports it from here.
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    frozen = convert_variables_to_constants_v2(function, lower_control_flow=False)
    graph = frozen.graph.as_graph_def()
    for node in graph.node:
        # A mark for training: left in, each load of the artifact warns of the gradients that it lacks.
        node.attr.pop("_gradient_op_type", None)
    return graph, frozen.inputs[0].name, [output.name for output in frozen.outputs]
