"""Non-maximum suppression by TFLite's own operation, which ignores classes."""

from __future__ import annotations

from typing import Any

from spinenet_tf.ops.decoding import Candidates, Nms


def builtin_nms(image_size: tuple[int, int]) -> Nms:
    """Return an NMS that replaces `ops.decoding.greedy_nms` in a .tflite file, on boxes that `_kept_apart` moves.

    The number of images is static.
    """
    import tensorflow as tf

    beyond = max(image_size) + 1.0

    def nms(candidates: Candidates, iou_threshold: float, max_detections: int) -> Any:
        kept = [
            _of_one_image(Candidates(*image), beyond, iou_threshold, max_detections)
            for image in zip(*map(tf.unstack, candidates), strict=True)
        ]
        return tf.stack(kept)

    return nms


def _of_one_image(candidates: Candidates, beyond: float, iou_threshold: float, max_detections: int) -> Any:
    """Return the indices `[M]` of the candidates of one image that TFLite's NMS keeps; -1 past the last."""
    import tensorflow as tf

    kept, _, count = tf.raw_ops.NonMaxSuppressionV5(
        boxes=_kept_apart(candidates, beyond),
        scores=candidates.scores,
        max_output_size=max_detections,
        iou_threshold=iou_threshold,
        score_threshold=0.0,
        soft_nms_sigma=0.0,
        pad_to_max_output_size=True,
    )
    return tf.where(tf.range(max_detections) < count, kept, -1)


def _kept_apart(candidates: Candidates, beyond: float) -> Any:
    """Return the boxes `[K, 4]` of one image with an offset of `beyond` per class: TFLite's NMS ignores classes.

    A box without an area, such as one that was clipped at the edge, moves to a place of its own: LiteRT 2.3 would
    select it again for all further detections.
    """
    import tensorflow as tf

    boxes = candidates.boxes + tf.cast(candidates.classes, tf.float32)[:, None] * beyond
    sides = boxes[:, 2:] - boxes[:, :2]
    row = tf.range(boxes.shape[0], dtype=tf.float32)[:, None]
    alone = row * [-2.0, 0.0, -2.0, 0.0] + [-2.0, 0.0, -1.0, 1.0]
    return tf.where(sides[:, :1] * sides[:, 1:] > 0.0, boxes, alone)
