"""The one-stage detector (Lin 2017): a backbone, the RetinaNet head, and what training and prediction need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import keras
from keras import ops

from spinenet_tf._fast.replicas import replica_count, sum_over_replicas
from spinenet_tf.heads.detector import DetectionModel
from spinenet_tf.heads.ground_truth import check_form, image_weights
from spinenet_tf.heads.towers import retinanet_head
from spinenet_tf.nets.backbone import Backbone
from spinenet_tf.nets.base import SpineNetModel
from spinenet_tf.ops.anchors import AnchorSpec, anchors, concatenate, per_anchor
from spinenet_tf.ops.assignment import assign
from spinenet_tf.ops.decoding import detections
from spinenet_tf.ops.losses import BOX_LOSSES, retinanet_loss, weighted_sum


@dataclass(frozen=True)
class LossSpec:
    """The parameters of the focal and the box loss; the defaults are the published ones.

    Raises:
        ValueError: the box loss is unknown.
    """

    focal_alpha: float = 0.25
    focal_gamma: float = 1.5
    box_loss: str = "huber"  # or "giou", whose usual weight is 2
    huber_delta: float = 0.1
    box_weight: float = 50.0

    def __post_init__(self) -> None:
        if self.box_loss not in BOX_LOSSES:
            raise ValueError(f"Valid box losses are {BOX_LOSSES}. Received: box_loss={self.box_loss!r}")


@dataclass(frozen=True)
class DecodingSpec:
    """How raw outputs become detections; the defaults are the published ones."""

    score_threshold: float = 0.05
    iou_threshold: float = 0.5
    max_detections: int = 100
    pre_nms_top_k: int = 5000
    background: bool = False  # class 0 stands for the background, as in TF Model Garden: it is never detected
    plus_one: bool = False  # a box ends in its last pixel, not behind it, as in the TF1 zoo


@keras.saving.register_keras_serializable("spinenet_tf")
class RetinaNet(DetectionModel):
    """A detector from normalised images `[B, H, W, 3]` to raw outputs, trained by `compile(optimizer)` and `fit` alone.

    Calling it gives `{"class_logits": {"P3": [B, h, w, A * num_classes], ...}, "box_deltas": {"P3": [B, h, w, A * 4],
    ...}}`; `predict` gives detections. `fit` and `evaluate` take `(images, {"boxes": [B, N, 4], "classes": [B, N]})`,
    boxes yxyx in pixels of the network's input, classes 0..num_classes - 1, -1 = padding, and a weight for each image
    or none. Source: arXiv 1912.05027, section 5.1.

    Raises:
        ValueError: `num_classes` is not positive.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        head_depth: int = 4,
        head_width: int = 256,
        anchor_spec: AnchorSpec | None = None,
        loss_spec: LossSpec | None = None,
        decoding_spec: DecodingSpec | None = None,
        name: str = "retinanet",
    ):
        if num_classes < 1:
            raise ValueError(f"A detector has at least one class. Received: num_classes={num_classes}")
        anchor_spec = anchor_spec or AnchorSpec(backbone.min_level, backbone.max_level)
        images = keras.Input(backbone.image_shape, name="images")
        raw = retinanet_head(
            backbone(images),
            num_classes,
            anchor_spec.per_location,
            head_depth,
            head_width,
            separable=backbone.spec.is_mobile,
            style=backbone.style,
        )
        super().__init__(inputs=images, outputs=raw, name=name)
        specs = (anchor_spec, loss_spec or LossSpec(), decoding_spec or DecodingSpec())
        self._equip(backbone, num_classes, (head_depth, head_width), specs)

    def _equip(
        self,
        backbone: Backbone,
        num_classes: int,
        head: tuple[int, int],
        specs: tuple[AnchorSpec, LossSpec, DecodingSpec],
    ) -> None:
        """Take what training and prediction need beside the network; `head` is its depth and width."""
        self.backbone = backbone
        self.num_classes = num_classes
        self.head_depth, self.head_width = head
        self.anchor_spec, self.loss_spec, self.decoding_spec = specs
        self.class_loss = keras.metrics.Mean("class_loss")
        self.box_loss = keras.metrics.Mean("box_loss")
        # A function, for Keras would save and load a model that it finds on this one, and that one holds this one
        # again.
        self._predictor = cache(self._with_decoding)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Return focal + box loss + regularisation, a scalar, and track the first two as metrics.

        `sample_weight`, `[B]` or Keras's dictionary of equal ones, counts each image so many times.

        Raises:
            GroundTruthError: see `ground_truth.check_form`.
        """
        check_form(y, sample_weight)
        weights = image_weights(sample_weight)
        height, width = ops.shape(x)[1:3]
        all_anchors = concatenate(anchors(height, width, self.anchor_spec))
        targets = assign(all_anchors, y["boxes"], y["classes"])
        class_logits, box_deltas = self.flatten(y_pred)
        replicas = replica_count()
        # So that the mean over the replicas, which `fit` minimises and logs, is the loss of the whole batch.
        positives = sum_over_replicas(weighted_sum(ops.cast(targets.positive, "float32"), weights))
        options = asdict(self.loss_spec) | {"normalizer": (positives + 1.0) / replicas, "weights": weights}
        losses = retinanet_loss(class_logits, box_deltas, all_anchors, targets, **options)
        self.class_loss.update_state(losses["class_loss"])
        self.box_loss.update_state(losses["box_loss"])
        return sum(self.losses, losses["class_loss"] + losses["box_loss"]) / replicas

    def flatten(self, raw: Mapping[str, Mapping[str, Any]]) -> tuple:
        """Join raw outputs over the levels: class logits `[B, N, num_classes]`, box deltas `[B, N, 4]`."""
        return tuple(
            per_anchor(raw[output], values)
            for output, values in (("class_logits", self.num_classes), ("box_deltas", 4))
        )

    def detect(self, images, raw: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Decode raw outputs for `images [B, H, W, 3]`: see `ops.decoding.detections`."""
        height, width = ops.shape(images)[1:3]
        all_anchors = concatenate(anchors(height, width, self.anchor_spec))
        class_logits, box_deltas = self.flatten(raw)
        return detections(class_logits, box_deltas, all_anchors, height, width, **asdict(self.decoding_spec))

    def _with_decoding(self) -> keras.Model:
        """Return the same network with decoding and class-aware NMS behind it."""
        images = keras.Input(self.backbone.image_shape, name="images")
        predictor = SpineNetModel(images, Detect(self)([images, self(images)]))
        predictor.compile()
        return predictor

    def predict(self, x, *args, **kwargs) -> dict[str, Any]:
        """Detect objects in normalised images `[B, H, W, 3]`; takes what `keras.Model.predict` takes.

        Returns NumPy arrays: "boxes" `[B, M, 4]` yxyx in pixels of the network's input, "scores" `[B, M]`, "classes"
        `[B, M]` (-1 = padding) and "num_detections" `[B]`.
        """
        return self._predictor().predict(x, *args, **kwargs)

    def predict_on_batch(self, x) -> dict[str, Any]:
        """Detect objects in one batch: `predict` without its loop."""
        return self._predictor().predict_on_batch(x)

    def get_config(self) -> dict[str, Any]:
        return {
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            "num_classes": self.num_classes,
            "head_depth": self.head_depth,
            "head_width": self.head_width,
            "anchor_spec": asdict(self.anchor_spec),
            "loss_spec": asdict(self.loss_spec),
            "decoding_spec": asdict(self.decoding_spec),
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        backbone = keras.saving.deserialize_keras_object(config.pop("backbone"), custom_objects)
        specs = {"anchor_spec": AnchorSpec, "loss_spec": LossSpec, "decoding_spec": DecodingSpec}
        return cls(backbone, **config | {name: spec(**config[name]) for name, spec in specs.items()})

    def architecture(self) -> dict[str, Any]:
        head = {"classes": self.num_classes, "depth": self.head_depth, "width": self.head_width}
        return {"backbone": self.backbone.architecture(), "retinanet": head, "anchors": asdict(self.anchor_spec)}


@keras.saving.register_keras_serializable("spinenet_tf")
class Detect(keras.layers.Layer):
    """The layer form of `RetinaNet.detect`; it has no weights, and holds the detector without tracking it."""

    def __init__(self, detector: RetinaNet, **kwargs):
        super().__init__(dtype="float32", **kwargs)
        self._detect = detector.detect

    def call(self, inputs):
        return self._detect(*inputs)
