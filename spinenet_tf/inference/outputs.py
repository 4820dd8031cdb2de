"""Convert a file's outputs of any kind to the detections that the Keras model predicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from spinenet_tf.inference.metadata import Metadata
from spinenet_tf.inference.naming import LOGITS, nest


def output_reader(metadata: Metadata) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    """Return a function that converts a file's outputs by name to the results of Keras's `predict`, by name."""
    if metadata.output_kind == "probabilities":
        return _read_probabilities
    if metadata.head is None:
        return dict
    head, options = metadata.known_head()
    if head.decoding is None:
        return dict
    if metadata.output_kind == "detections":
        return _with_empty_slots
    if metadata.output_kind == "postprocess":
        background = getattr(options, "background", False)
        return lambda outputs: _read_post_processed(outputs, metadata.image_size, background)
    decode, select = head.decoding.decode, head.decoding.select
    if metadata.output_kind == "decoded":
        return _as_graph(lambda outputs: select(outputs["boxes"], outputs["scores"], options))
    return _as_graph(lambda outputs: decode(nest(outputs), options, metadata.image_size))


def _as_graph(function: Callable) -> Callable:
    """Compile the function into one TensorFlow graph; return it unchanged on other backends."""
    if keras.backend.backend() != "tensorflow":
        return function
    import tensorflow as tf

    return tf.function(function, autograph=False, reduce_retracing=True)  # batches may differ in size


def _read_probabilities(outputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return logits, whose softmax is the probabilities."""
    smallest = np.finfo(np.float32).tiny
    return {LOGITS: np.log(np.maximum(outputs["probabilities"], smallest))}


def _with_empty_slots(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return detections whose slots from `num_detections` on are empty: engines leave any values there, also NaN."""
    count = found["num_detections"].astype("int32")
    used = np.arange(found["scores"].shape[1]) < count[:, None]
    slots = {name: found[name] for name in ("boxes", "scores", "masks") if name in found}
    emptied = {name: np.where(used.reshape(*used.shape, *[1] * (x.ndim - 2)), x, 0) for name, x in slots.items()}
    classes = np.where(used, found["classes"], -1).astype("int32")
    return emptied | {"classes": classes, "num_detections": count}


def _read_post_processed(outputs: Mapping[str, Any], image_size: tuple[int, int], background: bool) -> dict[str, Any]:
    found = _with_empty_slots(outputs)
    boxes, classes = found["boxes"], found["classes"]
    return found | {
        "boxes": np.clip(boxes, 0.0, 1.0) * np.tile(np.array(image_size, np.float32), 2),
        "classes": np.where(classes < 0, classes, classes + int(background)),
    }
