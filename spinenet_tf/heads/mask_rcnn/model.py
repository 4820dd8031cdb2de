"""Mask R-CNN (He 2017): a detector of two stages with masks, as published for SpineNet in arXiv 1912.05027."""

from __future__ import annotations

from typing import Any

import keras

from spinenet_tf._fast.variables import named_alike
from spinenet_tf.heads.detector import DetectionModel
from spinenet_tf.heads.ground_truth import KEYS, MASKS
from spinenet_tf.heads.head import ClassAxis, Head
from spinenet_tf.heads.mask_rcnn import roi_heads, rpn
from spinenet_tf.heads.mask_rcnn.decoding import DECODING
from spinenet_tf.heads.mask_rcnn.experiment import EXPERIMENT
from spinenet_tf.heads.mask_rcnn.layers import Detections, Masks, Proposals, RoiAlign
from spinenet_tf.heads.mask_rcnn.options import BOX_CROP, MASK_CROP, MaskRCNNOptions
from spinenet_tf.heads.mask_rcnn.training import LOSSES, SecondStage
from spinenet_tf.heads.model import check_levels
from spinenet_tf.nets.backbone import Backbone

NAME = "mask_rcnn"


@keras.saving.register_keras_serializable("spinenet_tf")
class MaskRCNN(DetectionModel):
    """A backbone with the Mask R-CNN head.

    Masks are computed for final boxes, so the net selects the detections itself. Calling it returns the best M =
    `max_detections`, whatever their scores: `{"boxes": [B, M, 4], "scores": [B, M], "classes": [B, M],
    "num_detections": [B], "masks": [B, M, 28, 28]}`. A mask has values in 0..1 and covers its box. `predict` applies
    the threshold of the scores.

    With `training=True`, it returns only what the losses need: `{"features": {"P3": [B, h, w, K], ...}, "rpn_logits":
    {"P3": [B, h, w, A], ...}, "rpn_deltas": {"P3": [B, h, w, A * 4], ...}}`. The second stage then runs on ROIs that
    are sampled for the ground truth, which also has "masks" `[B, N, S, S]`: the mask of each object, cropped to its
    box.
    """

    head = NAME
    options_type = MaskRCNNOptions
    loss_names = LOSSES
    truth_keys = (*KEYS, MASKS)
    decoding = DECODING
    options: MaskRCNNOptions

    @staticmethod
    @named_alike()
    def outputs_of(backbone: Backbone, images: Any, num_classes: int, options: MaskRCNNOptions):
        check_levels("Mask R-CNN head", backbone)
        style, tower = backbone.style, options.tower
        separable = backbone.spec.is_separable if tower == "auto" else tower == "separable"
        features = backbone(images)
        form = (next(iter(features.values())).shape[-1], options.channels(num_classes), options, separable, style)
        first = rpn.rpn_head(features, options, separable, style)(features)
        rois = Proposals(options)(first["rpn_logits"], first["rpn_deltas"], images)
        found = roi_heads.box_head(*form)(RoiAlign(BOX_CROP, "box_roi_align")(features, rois))
        detected = Detections(options)(rois, found["class_logits"], found["box_deltas"], images)
        mask_logits = roi_heads.mask_head(*form)(RoiAlign(MASK_CROP, "mask_roi_align")(features, detected["boxes"]))
        return detected | {"masks": Masks(options)(mask_logits, detected["classes"])}

    def _equip(self, backbone, num_classes, options) -> None:
        super()._equip(backbone, num_classes, options)
        self.rpn, self.box_head, self.mask_head = map(
            self.get_layer, (rpn.NAME, roi_heads.BOX_HEAD, roi_heads.MASK_HEAD)
        )
        self.seed = keras.random.SeedGenerator()  # chooses anchors and ROIs to learn from

    def call(self, images, training=None, mask=None):
        return self.first_stage(images, training=True) if training else super().call(images, training=False)

    def first_stage(self, images, training: bool = False) -> dict[str, Any]:
        """Return the features, and the RPN's logits and deltas, of images: what the losses need."""
        features = self.backbone(images, training=training)
        return {"features": features, **self.rpn(features, training=training)}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        raw = y_pred if training else self.first_stage(x)  # when evaluating, `y_pred` are detections
        return super().compute_loss(x, y, raw, sample_weight, training)

    def losses_of(self, raw, truth, image_size, weights, training=True):
        second = SecondStage(self.box_head, self.mask_head, self.options, self.seed)
        return second.losses(raw, truth, image_size, weights, training)


ROW = Head(
    NAME,
    "instance segmentation",
    MaskRCNNOptions,
    MaskRCNN,
    layouts={
        "boxes": "[batch, slot, (top, left, bottom, right)] in pixels of the input, best first",
        "scores": "[batch, slot]",
        "classes": "[batch, slot], -1 in slots that are not used",
        "num_detections": "[batch], slots that are used",
        "masks": "[batch, slot, row, column], the object's share of each of 28 x 28 cells of its box, in 0..1",
    },
    class_layers={
        roi_heads.CLASS_PREDICTOR: ClassAxis(groups=1),
        roi_heads.DELTA_PREDICTOR: ClassAxis(groups=1, values=4),
        roi_heads.MASK_PREDICTOR: ClassAxis(groups=1),
    },
    outputs=("detections",),
    smallest={
        **{f"{part}_width": 8 for part in ("rpn", "box", "fc", "mask")},
        **{"rpn_depth": 1, "box_depth": 1, "fc_depth": 1, "mask_depth": 1},
        **{"level_proposals": 20, "level_proposals_training": 20, "proposals": 20, "proposals_training": 20},
        **{"roi_samples": 16, "mask_samples": 4},
    },
    decoding=DECODING,
    experiment=EXPERIMENT,
)
