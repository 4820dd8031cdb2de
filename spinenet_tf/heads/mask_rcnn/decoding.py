"""Decode the second stage of Mask R-CNN: from class logits and box deltas of ROIs to detections, and their masks."""

from __future__ import annotations

from typing import Any

from keras import ops

from spinenet_tf.heads.head import Decoding, ImageSize, Raw
from spinenet_tf.heads.mask_rcnn.options import BOX_WEIGHTS, MaskRCNNOptions
from spinenet_tf.ops.boxes import Tensor, pick
from spinenet_tf.ops.decoding import Candidates, Nms, best_pairs, decode_and_clip, greedy_nms, keep
from spinenet_tf.ops.proposals import just_below


def select_detections(
    rois: Tensor,
    class_logits: Tensor,
    box_deltas: Tensor,
    image_size: ImageSize,
    options: MaskRCNNOptions,
    nms: Nms | None = None,
) -> dict[str, Tensor]:
    """Return the best `max_detections` among `rois [B, N, 4]` (yxyx in pixels), as `ops.decoding.detections` does.

    Their scores are above 0 only: `decode` applies the threshold. `class_logits [B * N, channels]` have the background
    in channel 0, which is never detected. `box_deltas [B * N, channels * 4]` are relative to the ROI, one box for each
    class, times `BOX_WEIGHTS`.
    """
    (batch, count), channels = ops.shape(rois)[:2], class_logits.shape[-1]
    scores = ops.softmax(ops.cast(ops.reshape(class_logits, (batch, count, channels)), "float32"))
    best, roi, channel = best_pairs(scores, options.pre_nms_top_k, background=True)
    deltas = pick(ops.reshape(box_deltas, (batch, count * channels, 4)), roi * channels + channel)
    own_rois = pick(rois, roi)
    boxes = decode_and_clip(deltas, own_rois, *image_size, options.plus_one, BOX_WEIGHTS)
    # Rows without a proposal are zeros, and so are boxes beyond the first corner. Model Garden detects neither.
    best = ops.where(ops.any(own_rois > 0, axis=-1) & ops.any(boxes > 0, axis=-1), best, 0.0)
    candidates = Candidates(boxes, best, channel - options.first_channel)
    return keep(candidates, 0.0, just_below(options.iou_threshold), options.max_detections, nms or greedy_nms)


def masks_of(mask_logits: Tensor, channels: Tensor) -> Tensor:
    """Return the logits `[B, N, S, S]` of one of the `channels [B, N]` each, from `mask_logits [B * N, S, S, C]`."""
    # A product with ones and zeros, because a gather along the last axis transposes the logits on TensorFlow.
    chosen = ops.one_hot(ops.reshape(channels, (-1,)), mask_logits.shape[-1])[:, None, None]
    logits = ops.sum(ops.cast(mask_logits, "float32") * chosen, axis=-1)
    return ops.reshape(logits, (*ops.shape(channels), *mask_logits.shape[1:3]))


def decode(raw: Raw, options: MaskRCNNOptions, image_size: ImageSize, nms: Any = None) -> dict[str, Tensor]:
    """Return the detections that score above the threshold, of those that the net has selected for their masks.

    They are those of an NMS above the threshold, since a worse detection never suppresses a better one. Slots that are
    not used are emptied again, since engines may leave any values there. If `options` have a smaller `max_detections`
    than the net, only the best are returned.
    """
    slots = min(options.max_detections, raw["scores"].shape[1])
    selected = ops.arange(slots, dtype="int32") < ops.cast(raw["num_detections"], "int32")[:, None]
    used = selected & (raw["scores"][:, :slots] > options.score_threshold)
    found = {name: raw[name][:, :slots] for name in ("boxes", "scores", "classes", "masks")}
    return {
        "boxes": ops.where(used[..., None], found["boxes"], 0.0),
        "scores": ops.where(used, found["scores"], 0.0),
        "classes": ops.where(used, ops.cast(found["classes"], "int32"), -1),
        "num_detections": ops.sum(ops.cast(used, "int32"), axis=1),
        "masks": ops.where(used[..., None, None], found["masks"], 0.0),
    }


DECODING = Decoding(decode)
