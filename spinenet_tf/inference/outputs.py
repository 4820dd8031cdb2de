"""What a file's outputs become, whatever it leaves to its reader: detections as `RetinaNet.predict` returns them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import keras
import numpy as np

from spinenet_tf.inference.metadata import Metadata
from spinenet_tf.inference.naming import nest
from spinenet_tf.ops.anchors import anchors, concatenate, per_anchor
from spinenet_tf.ops.decoding import detections, select


def read_form(metadata: Metadata) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    """Return a function from the outputs of a detector's file by name to what `RetinaNet.predict` returns."""
    if metadata.form == "detections":
        return dict
    if metadata.form == "postprocess":
        return lambda outputs: _read_post_processed(outputs, metadata)
    if metadata.form == "decoded":
        return _as_graph(lambda outputs: _select(outputs, metadata))
    boxes = all_anchors(metadata)
    return _as_graph(lambda outputs: decode_raw(*joined(outputs, metadata), boxes, metadata))


def all_anchors(metadata: Metadata) -> np.ndarray:
    """Return all anchors `[N, 4]`, yxyx pixels: a constant of the file."""
    return keras.ops.convert_to_numpy(concatenate(anchors(*metadata.image_size, metadata.anchor_spec)))


def joined(raw: Mapping[str, Any], metadata: Metadata) -> tuple[Any, Any]:
    """Join a file's raw outputs over the levels: class logits `[B, N, C]` and box deltas `[B, N, 4]`."""
    maps = nest(raw)
    return per_anchor(maps["class_logits"], len(metadata.class_names)), per_anchor(maps["box_deltas"], 4)


def decode_raw(logits: Any, deltas: Any, boxes: np.ndarray, metadata: Metadata, **options: Any) -> dict[str, Any]:
    """Decode raw outputs as the file's metadata say: see `ops.decoding.detections`."""
    height, width = metadata.image_size
    return detections(logits, deltas, boxes, height, width, **asdict(metadata.decoding_spec) | options)


def _as_graph(function: Callable) -> Callable:
    """Let TensorFlow run as one graph what it would run op by op."""
    if keras.backend.backend() != "tensorflow":
        return function
    import tensorflow as tf

    return tf.function(function, autograph=False)


def _select(outputs: Mapping[str, Any], metadata: Metadata) -> dict[str, Any]:
    # Boxes are decoded already.
    options = {name: value for name, value in asdict(metadata.decoding_spec).items() if name != "plus_one"}
    return select(outputs["boxes"], outputs["scores"], **options)


def _read_post_processed(outputs: Mapping[str, Any], metadata: Metadata) -> dict[str, Any]:
    height, width = metadata.image_size
    count = outputs["num_detections"].astype("int32")
    valid = np.arange(outputs["scores"].shape[1]) < count[:, None]
    boxes = np.clip(outputs["boxes"], 0.0, 1.0) * np.array([height, width, height, width], np.float32)
    classes = outputs["classes"].astype("int32") + int(metadata.decoding_spec.background)
    return {
        "boxes": np.where(valid[..., None], boxes, np.float32(0)),
        "scores": np.where(valid, outputs["scores"], np.float32(0)),
        "classes": np.where(valid, classes, np.int32(-1)),
        "num_detections": count,
    }
