"""The proposals of the RPN, for inference and for training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spinenet_tf.heads.head import ImageSize
from spinenet_tf.heads.mask_rcnn.options import MaskRCNNOptions
from spinenet_tf.ops.anchors import anchors
from spinenet_tf.ops.boxes import Tensor
from spinenet_tf.ops.decoding import Nms
from spinenet_tf.ops.proposals import propose


def anchors_of(maps: Mapping[str, Any], image_size: ImageSize, options: MaskRCNNOptions) -> dict[str, Tensor]:
    """Return the anchors `{"P3": [h * w * A, 4], ...}` of the levels of the RPN's `maps`, yxyx in pixels."""
    levels = [int(name.removeprefix("P")) for name in maps]
    return anchors(*image_size, options.anchor_spec(min(levels), max(levels)))


def proposals_of(
    rpn_logits: Mapping[str, Any],
    rpn_deltas: Mapping[str, Any],
    image_size: ImageSize,
    options: MaskRCNNOptions,
    training: bool = False,
    nms: Nms | None = None,
) -> Tensor:
    """Return the proposals `[B, N, 4]`, yxyx in pixels; N is `options.proposals`, or those of training.

    `nms` replaces `ops.decoding.greedy_nms`.
    """
    return propose(
        rpn_logits,
        rpn_deltas,
        anchors_of(rpn_logits, image_size, options),
        *image_size,
        level_top_k=options.level_proposals_training if training else options.level_proposals,
        iou_threshold=options.proposal_iou_threshold,
        count=options.proposals_training if training else options.proposals,
        plus_one=options.plus_one,
        nms=nms,
    )
