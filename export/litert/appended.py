"""What follows the raw outputs in a file, always in float: decoding, NMS, the custom operation, or softmax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from spinenet_tf.export.litert.nms import builtin_nms
from spinenet_tf.export.litert.targets import CUSTOM
from spinenet_tf.inference.metadata import Metadata
from spinenet_tf.inference.naming import nest
from spinenet_tf.ops.boxes import MAX_LOG_SCALE

# The output order, for readers that do not use names; "masks" are in files of nets that predict them.
OUTPUT_NAMES = {
    "decoded": ("boxes", "scores"),
    "detections": ("boxes", "classes", "scores", "num_detections", "masks"),
    "postprocess": ("boxes", "classes", "scores", "num_detections"),
    "probabilities": ("probabilities",),
}


def append_outputs(kind: str, metadata: Metadata) -> Callable[..., dict[str, Any]]:
    """Return a TensorFlow function from the raw outputs by name to those of one of the kinds `OUTPUT_NAMES`.

    It raises ValueError if the custom operation cannot reproduce the detector's decoding.
    """
    head, options = metadata.known_head()
    return lambda **raw: _BUILDERS[kind](nest(raw), head.decoding, options, metadata)


def _decode(raw: Any, decoding: Any, options: Any, metadata: Metadata) -> dict[str, Any]:
    found = decoding.candidates(raw, options, metadata.image_size)
    return dict(zip(OUTPUT_NAMES["decoded"], found, strict=True))


def _detect(raw: Any, decoding: Any, options: Any, metadata: Metadata) -> dict[str, Any]:
    return decoding.decode(raw, options, metadata.image_size, nms=builtin_nms(metadata.image_size))


def _probabilities(logits: Any, decoding: Any, options: Any, metadata: Metadata) -> dict[str, Any]:
    import tensorflow as tf

    return dict(zip(OUTPUT_NAMES["probabilities"], [tf.nn.softmax(logits)], strict=True))


def _post_process(raw: Any, decoding: Any, options: Any, metadata: Metadata) -> dict[str, Any]:
    """Detect with the outputs of the custom operation: float32, and boxes relative to the input's sides.

    A head with anchors uses the operation itself: one class per anchor, and an object suppresses overlapping objects of
    all classes; boxes are clipped to the image last.
    """
    if decoding.anchors is None:
        return _relative(_detect(raw, decoding, options, metadata), metadata.image_size)
    return _by_custom_operation(raw, decoding, options, metadata)


def _relative(found: dict[str, Any], image_size: tuple[int, int]) -> dict[str, Any]:
    """Return detections in the form of the custom operation's outputs; in slots that are not used, all are 0."""
    import tensorflow as tf

    found = {name: tf.cast(x, tf.float32) for name, x in found.items()}
    sides = np.tile(image_size, 2).astype(np.float32)
    return found | {"boxes": found["boxes"] / sides, "classes": tf.nn.relu(found["classes"])}


def _by_custom_operation(raw: Any, decoding: Any, options: Any, metadata: Metadata) -> dict[str, Any]:
    import tensorflow as tf

    slots = options.max_detections
    logits, deltas = decoding.flatten(raw, options).values()
    boxes = decoding.anchors(raw, options, metadata.image_size)

    @tf.function(experimental_implements=_custom_operation(options, len(metadata.class_names)))
    def post_process(deltas, scores, anchors):  # the converter replaces the body: only shapes and dtypes matter
        return tf.zeros((1, slots, 4)), tf.zeros((1, slots)), tf.zeros((1, slots)), tf.zeros((1,))

    corners = boxes / np.tile(metadata.image_size, 2)
    sides = corners[:, 2:] - corners[:, :2]
    coded = np.concatenate([corners[:, :2] + sides / 2, sides], axis=1).astype(np.float32)
    limits = np.array([np.inf, np.inf, MAX_LOG_SCALE, MAX_LOG_SCALE], np.float32)
    found = post_process(tf.minimum(deltas, limits), tf.sigmoid(logits), tf.constant(coded))
    named = dict(zip(OUTPUT_NAMES["postprocess"], found, strict=True))
    # MediaPipe moves a corner outside of the image to its edge, but keeps the box's size.
    return named | {"boxes": tf.clip_by_value(named["boxes"], 0.0, 1.0)}


def _custom_operation(options: Any, num_classes: int) -> str:
    attributes = {
        "max_detections": f"i: {options.max_detections}",
        "max_classes_per_detection": "i: 1",
        # Regular (per-class) NMS on n threads loses class n (TensorFlow's issue 56058, LiteRT 2.3).
        "use_regular_nms": "b: false",
        "nms_score_threshold": f"f: {options.score_threshold:f}",
        "nms_iou_threshold": f"f: {options.iou_threshold:f}",
        "num_classes": f"i: {num_classes - int(options.background)}",
        **{f"{side}_scale": "f: 1.0" for side in "yxhw"},
    }
    pairs = (f'attr {{ key: "{name}" value {{ {value} }} }}' for name, value in attributes.items())
    return " ".join([f'name: "{CUSTOM}"', *pairs])


_BUILDERS = {
    "decoded": _decode,
    "detections": _detect,
    "postprocess": _post_process,
    "probabilities": _probabilities,
}
