"""The steps of Mask R-CNN without weights as Keras layers: proposals, ROI align, selected detections, chosen masks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from spinenet_tf.heads.mask_rcnn.decoding import masks_of, select_detections
from spinenet_tf.heads.mask_rcnn.options import MASK_SIZE, MaskRCNNOptions
from spinenet_tf.heads.mask_rcnn.proposals import proposals_of
from spinenet_tf.ops.decoding import Nms
from spinenet_tf.ops.roi_align import multilevel_roi_align


class Step(keras.layers.Layer):
    """A layer without weights that computes with boxes, which half precision would move by pixels.

    Where it runs NMS, `nms` replaces `ops.decoding.greedy_nms`: an exporter sets it while it traces a model.
    """

    nms: Nms | None = None

    def __init__(self, name: str):
        super().__init__(name=name, dtype="float32", autocast=False)


class Proposals(Step):
    """Return the proposals `[B, N, 4]` of the RPN's outputs for `images [B, H, W, 3]`, yxyx in pixels."""

    def __init__(self, options: MaskRCNNOptions, name: str = "proposals"):
        super().__init__(name)
        self.options = options

    def call(self, rpn_logits: Mapping[str, Any], rpn_deltas: Mapping[str, Any], images):
        return proposals_of(rpn_logits, rpn_deltas, tuple(ops.shape(images)[1:3]), self.options, nms=self.nms)

    def compute_output_spec(self, rpn_logits, rpn_deltas, images):
        return keras.KerasTensor((images.shape[0], self.options.proposals, 4), "float32")


class RoiAlign(Step):
    """Return the features `[B * N, size, size, K]` of `boxes [B, N, 4]` in `{"P3": [B, h, w, K], ...}`."""

    def __init__(self, size: int, name: str):
        super().__init__(name)
        self.size = size

    def call(self, features: Mapping[str, Any], boxes):
        if None in (shapes := [side for x in features.values() for side in x.shape[1:3]]):
            raise ValueError(f"Mask R-CNN needs a static input size. Received: sides of the features={shapes}")
        crops = multilevel_roi_align(features, boxes, self.size)
        return ops.reshape(crops, (-1, *crops.shape[2:]))

    def compute_output_spec(self, features, boxes):
        feature = next(iter(features.values()))
        return keras.KerasTensor((None, self.size, self.size, feature.shape[-1]), feature.dtype)


class Detections(Step):
    """Select detections among ROIs: see `select_detections`."""

    def __init__(self, options: MaskRCNNOptions, name: str = "detections"):
        super().__init__(name)
        self.options = options

    def call(self, rois, class_logits, box_deltas, images):
        image_size = tuple(ops.shape(images)[1:3])
        return select_detections(rois, class_logits, box_deltas, image_size, self.options, self.nms)

    def compute_output_spec(self, rois, class_logits, box_deltas, images):
        batch, slots = images.shape[0], self.options.max_detections
        return {
            "boxes": keras.KerasTensor((batch, slots, 4), "float32"),
            "scores": keras.KerasTensor((batch, slots), "float32"),
            "classes": keras.KerasTensor((batch, slots), "int32"),
            "num_detections": keras.KerasTensor((batch,), "int32"),
        }


class Masks(Step):
    """Return the masks `[B, M, 28, 28]` of the `classes [B, M]`, in 0..1, from logits `[B * M, 28, 28, channels]`."""

    def __init__(self, options: MaskRCNNOptions, name: str = "masks"):
        super().__init__(name)
        self.options = options

    def call(self, mask_logits, classes):
        channels = ops.maximum(classes, 0) + self.options.first_channel
        return ops.sigmoid(masks_of(mask_logits, channels))

    def compute_output_spec(self, mask_logits, classes):
        return keras.KerasTensor((*classes.shape, MASK_SIZE, MASK_SIZE), "float32")
