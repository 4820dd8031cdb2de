"""The training of Mask R-CNN: choose targets for both stages, run the second stage on sampled ROIs, and its losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from spinenet_tf.heads.head import ImageSize, Raw
from spinenet_tf.heads.mask_rcnn.decoding import masks_of
from spinenet_tf.heads.mask_rcnn.options import BOX_CROP, BOX_WEIGHTS, MASK_CROP, MASK_SIZE, MaskRCNNOptions
from spinenet_tf.heads.mask_rcnn.proposals import anchors_of, proposals_of
from spinenet_tf.ops import rcnn_losses
from spinenet_tf.ops.boxes import Tensor, encode
from spinenet_tf.ops.roi_align import multilevel_roi_align
from spinenet_tf.ops.roi_sampling import RoiTargets, sample_anchors, sample_masks, sample_rois

LOSSES = ("rpn_score_loss", "rpn_box_loss", "class_loss", "box_loss", "mask_loss")


class SecondStage:
    """Compute the losses of the first stage's outputs, with the heads of the second stage."""

    def __init__(
        self, box_head: keras.Model, mask_head: keras.Model, options: MaskRCNNOptions, seed: keras.random.SeedGenerator
    ):
        self.box_head, self.mask_head, self.options, self.seed = box_head, mask_head, options, seed

    def losses(
        self, raw: Raw, truth: Mapping[str, Any], image_size: ImageSize, weights: Tensor | None, training: bool
    ) -> dict[str, Tensor]:
        """Return the losses `LOSSES` of the outputs `raw` of the first stage.

        `truth` has "boxes" `[B, N, 4]`, "classes" `[B, N]` and "masks" `[B, N, S, S]`, the mask of each object in its
        box; `weights [B]` weight the images. With `training`, the heads update their BN statistics.
        """
        channels = ops.cast(truth["classes"], "int32")
        channels = ops.where(channels < 0, -1, channels + self.options.first_channel)
        rois = self._sample(raw, truth["boxes"], channels, image_size)
        return (
            self._of_rpn(raw, truth["boxes"], channels, image_size, weights)
            | self._of_boxes(raw, rois, weights, training)
            | self._of_masks(raw, rois, truth["masks"], weights, training)
        )

    def _of_rpn(self, raw: Raw, boxes, channels, image_size: ImageSize, weights) -> dict[str, Tensor]:
        options, logits, deltas = self.options, raw["rpn_logits"], raw["rpn_deltas"]
        targets = sample_anchors(
            anchors_of(logits, image_size, options),
            boxes,
            channels,
            positive_iou=options.rpn_positive_iou,
            negative_iou=options.rpn_negative_iou,
            samples=options.rpn_samples,
            positive_share=options.rpn_positive_share,
            seed=self.seed,
        )
        return {
            "rpn_score_loss": rcnn_losses.rpn_score_loss(logits, targets.labels, options.score_normalizer, weights),
            "rpn_box_loss": rcnn_losses.rpn_box_loss(deltas, targets, options.rpn_huber_delta, weights),
        }

    def _sample(self, raw: Raw, boxes, channels, image_size: ImageSize) -> RoiTargets:
        options = self.options
        return sample_rois(
            proposals_of(raw["rpn_logits"], raw["rpn_deltas"], image_size, options, training=True),
            boxes,
            channels,
            samples=options.roi_samples,
            positive_share=options.roi_positive_share,
            positive_iou=options.roi_positive_iou,
            seed=self.seed,
        )

    def _of_boxes(self, raw: Raw, rois: RoiTargets, weights, training: bool) -> dict[str, Tensor]:
        found = self.box_head(_crops(raw, rois.rois, BOX_CROP), training=training)
        class_logits, box_deltas = (_per_image(found[name], rois.rois) for name in ("class_logits", "box_deltas"))
        is_object = (rois.classes > 0)[..., None]
        targets = ops.where(is_object, encode(rois.boxes, rois.rois, BOX_WEIGHTS), 0.0)
        delta = self.options.box_huber_delta
        return {
            "class_loss": rcnn_losses.class_loss(class_logits, rois.classes, weights),
            "box_loss": rcnn_losses.box_loss(box_deltas, targets, rois.classes, delta, weights),
        }

    def _of_masks(self, raw: Raw, rois: RoiTargets, masks, weights, training: bool) -> dict[str, Tensor]:
        chosen = sample_masks(rois, masks, samples=self.options.mask_samples, size=MASK_SIZE)
        logits = self.mask_head(_crops(raw, chosen.rois, MASK_CROP), training=training)
        logits = masks_of(logits, chosen.classes)
        return {"mask_loss": rcnn_losses.mask_loss(logits, chosen.masks, chosen.classes, weights)}


def _crops(raw: Raw, boxes: Tensor, size: int) -> Tensor:
    """Return the features of boxes `[B, N, 4]` as `[B * N, size, size, K]`."""
    crops = multilevel_roi_align(raw["features"], boxes, size)
    return ops.reshape(crops, (-1, *crops.shape[2:]))


def _per_image(x: Tensor, rois: Tensor) -> Tensor:
    """Reshape `x [B * N, K]` to `[B, N, K]`."""
    return ops.reshape(x, (*ops.shape(rois)[:2], x.shape[-1]))
