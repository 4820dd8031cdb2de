"""What a file has behind a detector's raw outputs, always in float: decoding, NMS, or the custom operation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from spinenet_tf.export.litert.targets import CUSTOM
from spinenet_tf.inference.metadata import Metadata
from spinenet_tf.inference.outputs import all_anchors, decode_raw, joined
from spinenet_tf.ops.boxes import MAX_LOG_SCALE
from spinenet_tf.ops.decoding import Candidates, decoded

# The order that readers without names count on.
OUTPUT_NAMES = {
    "decoded": ("boxes", "scores"),
    "detections": ("boxes", "classes", "scores", "num_detections"),
    "postprocess": ("boxes", "classes", "scores", "num_detections"),
}


def append_form(form: str, metadata: Metadata) -> Callable[..., dict[str, Any]]:
    """Return a function of TensorFlow from the raw outputs by name to those of "decoded", "detections", "postprocess".

    Raises:
        ValueError: the custom operation cannot do what the detector's decoding does.
    """
    if form == "postprocess" and metadata.decoding_spec.plus_one:
        raise ValueError("The outputs postprocess know no boxes that end in their last pixel. Received: plus_one=True")
    build = {"decoded": _decode, "detections": _detect, "postprocess": _post_process}[form]
    boxes = all_anchors(metadata)
    return lambda **raw: build(*joined(raw, metadata), boxes, metadata)


def _decode(logits: Any, deltas: Any, boxes: np.ndarray, metadata: Metadata) -> dict[str, Any]:
    found = decoded(logits, deltas, boxes, *metadata.image_size, metadata.decoding_spec.plus_one)
    return dict(zip(OUTPUT_NAMES["decoded"], found, strict=True))


def _detect(logits: Any, deltas: Any, boxes: np.ndarray, metadata: Metadata) -> dict[str, Any]:
    """Detect by TFLite's own NMS, which knows no classes: each class is moved to a place of its own."""
    import tensorflow as tf

    beyond = max(metadata.image_size) + 1.0

    def survivors(candidates: Candidates, iou_threshold: float, max_detections: int) -> Any:
        places = tf.cast(candidates.classes[0], tf.float32)[:, None] * beyond
        kept, _, count = tf.raw_ops.NonMaxSuppressionV5(
            boxes=candidates.boxes[0] + places,
            scores=candidates.scores[0],
            max_output_size=max_detections,
            iou_threshold=iou_threshold,
            score_threshold=0.0,
            soft_nms_sigma=0.0,
            pad_to_max_output_size=True,
        )
        return tf.where(tf.range(max_detections) < count, kept, -1)[None]

    return decode_raw(logits, deltas, boxes, metadata, survivors=survivors)


def _post_process(logits: Any, deltas: Any, boxes: np.ndarray, metadata: Metadata) -> dict[str, Any]:
    """Detect by the custom operation: boxes relative to the input's sides, each anchor's best class, one NMS for all.

    So an object suppresses what overlaps it, whatever its class; boxes are not clipped before.
    """
    import tensorflow as tf

    slots = metadata.decoding_spec.max_detections

    @tf.function(experimental_implements=_custom_operation(metadata))
    def post_process(deltas, scores, anchors):  # the converter replaces the body: only shapes and types matter
        return tf.zeros((1, slots, 4)), tf.zeros((1, slots)), tf.zeros((1, slots)), tf.zeros((1,))

    corners = boxes / np.tile(metadata.image_size, 2)
    sides = corners[:, 2:] - corners[:, :2]
    coded = np.concatenate([corners[:, :2] + sides / 2, sides], axis=1).astype(np.float32)
    limits = np.array([np.inf, np.inf, MAX_LOG_SCALE, MAX_LOG_SCALE], np.float32)
    found = post_process(tf.minimum(deltas, limits), tf.sigmoid(logits), tf.constant(coded))
    return dict(zip(OUTPUT_NAMES["postprocess"], found, strict=True))


def _custom_operation(metadata: Metadata) -> str:
    decoding = metadata.decoding_spec
    attributes = {
        "max_detections": f"i: {decoding.max_detections}",
        "max_classes_per_detection": "i: 1",
        # The regular one, class by class, forgets class number n on n threads (TensorFlow's issue 56058, LiteRT 2.3).
        "use_regular_nms": "b: false",
        "nms_score_threshold": f"f: {decoding.score_threshold:f}",
        "nms_iou_threshold": f"f: {decoding.iou_threshold:f}",
        "num_classes": f"i: {len(metadata.class_names) - int(decoding.background)}",
        **{f"{side}_scale": "f: 1.0" for side in "yxhw"},
    }
    pairs = (f'attr {{ key: "{name}" value {{ {value} }} }}' for name, value in attributes.items())
    return " ".join([f'name: "{CUSTOM}"', *pairs])
