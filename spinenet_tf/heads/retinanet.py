"""RetinaNet, the one-stage detector (Lin 2017): options, layers, losses and decoding. Source: arXiv 1912.05027."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from spinenet_tf._fast.replicas import replica_count, sum_over_replicas
from spinenet_tf._fast.variables import named_alike
from spinenet_tf.heads.detector import DetectionModel, DetectionOptions
from spinenet_tf.heads.experiment_keys import ExperimentKeys
from spinenet_tf.heads.head import ClassAxis, Decoding, Head, ImageSize, Raw
from spinenet_tf.heads.model import check_levels
from spinenet_tf.heads.towers import make_conv, tower
from spinenet_tf.nets.backbone import Backbone
from spinenet_tf.nets.options import MAX_CHANNELS, option
from spinenet_tf.nets.style import Style
from spinenet_tf.ops.anchors import AnchorSpec, anchors, concatenate, per_anchor
from spinenet_tf.ops.assignment import Assignment, assign
from spinenet_tf.ops.boxes import Tensor
from spinenet_tf.ops.boxes import decode as decode_boxes
from spinenet_tf.ops.coverage import best_overlap
from spinenet_tf.ops.decoding import Nms, decoded, detections, select
from spinenet_tf.ops.losses import focal_loss, giou_loss, huber_loss, weighted_sum

NAME = "retinanet"
PRIOR = 0.01  # initial probability of each class
BOX_LOSSES = ("huber", "giou")


@dataclass(frozen=True)
class RetinaNetOptions(DetectionOptions):
    """The options of RetinaNet; the defaults are the published ones (paper, section 5.1).

    See `ops.anchors.AnchorSpec` for the anchors, `ops.decoding.detections` for the decoding.
    """

    head_depth: int = option(4, 0, 100, of_weights=True)  # number of convs before each predictor
    head_width: int = option(256, 1, MAX_CHANNELS, of_weights=True)  # channels of these convs
    num_scales: int = option(AnchorSpec.num_scales, 1, 100, of_weights=True)  # anchor sizes per octave
    aspect_ratios: tuple[float, ...] = option(AnchorSpec.aspect_ratios, above=0, of_weights=True)  # width / height
    anchor_size: float = option(AnchorSpec.size, above=0, of_weights=True)  # side of the smallest square, in strides
    focal_alpha: float = option(0.25, 0, 1)  # weight of positives in the class loss; negatives have 1 - focal_alpha
    focal_gamma: float = option(1.5, 0)  # larger values reduce the loss of logits that are already right
    box_loss: str = option("huber", choices=BOX_LOSSES)  # set box_weight to about 2 for "giou"
    huber_delta: float = option(0.1, above=0)  # the error where the Huber loss changes from quadratic to linear
    box_weight: float = option(50.0, 0)  # weight of the box loss
    iou_threshold: float = option(0.5, 0, 1)  # NMS drops a box with a higher IoU with a better one of its class
    pre_nms_top_k: int = option(5000, 1)  # number of candidates for NMS
    background: bool = option(False)  # class 0 is the background and never detected, as in TF Model Garden
    plus_one: bool = option(False)  # corners of boxes are inclusive pixels, as in the TF1 zoo

    def anchor_spec(self, min_level: int, max_level: int) -> AnchorSpec:
        """Return the spec of the anchors on these levels."""
        return AnchorSpec(min_level, max_level, self.num_scales, self.aspect_ratios, self.anchor_size)

    def pool(self) -> dict[str, Any]:
        """Return the options that select detections among all candidates, as arguments of `ops.decoding.detections`."""
        names = ("score_threshold", "iou_threshold", "max_detections", "pre_nms_top_k", "background")
        return {name: getattr(self, name) for name in names}


@keras.saving.register_keras_serializable("spinenet_tf")
class RetinaNet(DetectionModel):
    """A backbone with the RetinaNet head.

    Calling it returns `{"class_logits": {"P3": [B, h, w, A * num_classes], ...}, "box_deltas": {"P3": [B, h, w, A * 4],
    ...}}` with A anchors at each location.
    """

    head = NAME
    options_type = RetinaNetOptions
    loss_names = ("class_loss", "box_loss")
    options: RetinaNetOptions

    @staticmethod
    def outputs_of(backbone: Backbone, images: Any, num_classes: int, options: RetinaNetOptions):
        check_levels("RetinaNet head", backbone)
        return retinanet_head(backbone(images), num_classes, options, backbone.spec.is_separable, backbone.style)

    def losses_of(self, raw, truth, image_size, weights, training=True):
        return losses(raw, truth, self.options, image_size, weights)

    @property
    def anchor_spec(self) -> AnchorSpec:
        """The spec of the anchors on the levels of the backbone."""
        return self.options.anchor_spec(self.backbone.min_level, self.backbone.max_level)

    @classmethod
    def modern_config(cls, config):
        if "options" in config:
            return config
        anchor_spec, loss_spec, decoding_spec = (config.pop(f"{part}_spec") for part in ("anchor", "loss", "decoding"))
        depth = {name: config.pop(name) for name in ("head_depth", "head_width")}
        return config | {"options": depth | _anchor_options(anchor_spec) | loss_spec | decoding_spec}


@named_alike()
def retinanet_head(
    features: Mapping, num_classes: int, options: RetinaNetOptions, separable: bool, style: Style
) -> dict[str, dict]:
    """Return `{"class_logits": {"P3": [B, h, w, A * num_classes], ...}, "box_deltas": {"P3": [B, h, w, A * 4], ...}}`.

    Channels are anchor-major. All levels share the convs; each level has its own BNs.
    """
    width, per_location = options.head_width, _per_location(options)
    class_bias = -math.log((1.0 - PRIOR) / PRIOR)
    parts = {"class_logits": ("class", num_classes, class_bias), "box_deltas": ("box", 4, 0.0)}
    outputs = {}
    for output, (name, values, bias) in parts.items():
        convs = [make_conv(width, style, separable, name=f"{name}_conv{index}") for index in range(options.head_depth)]
        predictor = make_conv(
            per_location * values, style, separable, bias=bias, predicts=True, name=f"{name}_predictor"
        )
        outputs[output] = {level: predictor(tower(x, convs, style, level)) for level, x in features.items()}
    return outputs


def losses(
    raw: Raw, truth: Mapping[str, Any], options: RetinaNetOptions, image_size: ImageSize, weights: Tensor | None = None
) -> dict[str, Tensor]:
    """Return the losses of raw outputs: see `retinanet_loss`. `truth` has "boxes" `[B, N, 4]`, "classes" `[B, N]`."""
    all_anchors = _anchors_of(raw, options, image_size)
    targets = assign(all_anchors, truth["boxes"], truth["classes"])
    # With this normalizer, the mean over the replicas, which `fit` minimizes and logs, is the loss of the whole batch.
    positives = sum_over_replicas(weighted_sum(ops.cast(targets.positive, "float32"), weights))
    normalizer = (positives + 1.0) / replica_count()
    class_logits, box_deltas = flatten(raw, options).values()
    return retinanet_loss(class_logits, box_deltas, all_anchors, targets, options, normalizer, weights)


def retinanet_loss(
    class_logits: Tensor,
    box_deltas: Tensor,
    anchors: Tensor,
    assignment: Assignment,
    options: RetinaNetOptions,
    normalizer: Tensor | None = None,
    weights: Tensor | None = None,
) -> dict[str, Tensor]:
    """Return {"class_loss", "box_loss"}, two float32 scalars whose sum is the loss to minimize.

    `class_logits [B, N, C]` count at all `anchors [N, 4]`, `box_deltas [B, N, 4]` only at positive anchors, times
    `box_weight`. Both losses are sums over the batch divided by `normalizer`, by default the number of positives + 1,
    so that the loss of a batch without ground truth is finite. `box_loss` is "huber" on encoded boxes or "giou" on
    decoded boxes. `weights [B]` weight each image in the losses and in the number of positives.
    """
    positive = assignment.positive
    if normalizer is None:
        normalizer = weighted_sum(ops.cast(positive, "float32"), weights) + 1.0
    class_loss = focal_loss(class_logits, assignment.class_targets, options.focal_alpha, options.focal_gamma)
    if options.box_loss == "giou":
        box_losses = giou_loss(decode_boxes(box_deltas, anchors), decode_boxes(assignment.box_targets, anchors))
    else:
        box_losses = huber_loss(box_deltas, assignment.box_targets, options.huber_delta)
    box_loss = weighted_sum(ops.where(positive, box_losses, 0.0), weights)
    return {
        "class_loss": weighted_sum(class_loss, weights) / normalizer,
        "box_loss": options.box_weight * box_loss / normalizer,
    }


def flatten(raw: Raw, options: RetinaNetOptions) -> dict[str, Tensor]:
    """Concatenate all levels to class logits `[B, N, C]` and box deltas `[B, N, 4]`, one row per anchor."""
    channels = next(iter(raw["class_logits"].values())).shape[-1]
    values = {"class_logits": channels // _per_location(options), "box_deltas": 4}
    return {output: per_anchor(raw[output], count) for output, count in values.items()}


def decode(raw: Raw, options: RetinaNetOptions, image_size: ImageSize, nms: Nms | None = None) -> dict[str, Tensor]:
    """Return the detections in raw outputs: see `ops.decoding.detections`."""
    (class_logits, box_deltas), all_anchors = flatten(raw, options).values(), _anchors_of(raw, options, image_size)
    pool = options.pool() | {"plus_one": options.plus_one, "nms": nms}
    return detections(class_logits, box_deltas, all_anchors, *image_size, **pool)


def candidates(raw: Raw, options: RetinaNetOptions, image_size: ImageSize) -> tuple[Tensor, Tensor]:
    """Return the clipped boxes `[B, N, 4]` and the scores `[B, N, C]` of all anchors."""
    class_logits, box_deltas = flatten(raw, options).values()
    return decoded(class_logits, box_deltas, _anchors_of(raw, options, image_size), *image_size, options.plus_one)


def select_candidates(boxes: Tensor, scores: Tensor, options: RetinaNetOptions) -> dict[str, Tensor]:
    """Return the same as `decode`, from the boxes and scores of `candidates`."""
    return select(boxes, scores, **options.pool())


def post_processed_anchors(raw: Raw, options: RetinaNetOptions, image_size: ImageSize) -> np.ndarray:
    """Return all anchors `[N, 4]` for the outputs "postprocess", whose operation decodes boxes itself.

    Raises:
        ValueError: the operation does not support these options.
    """
    if options.plus_one:
        raise ValueError("The outputs postprocess do not support plus_one. Received: plus_one=True")
    return np.asarray(_anchors_of(raw, options, image_size))


def coverage(
    boxes: np.ndarray, image_size: tuple[int, int], levels: tuple[int, int], options: RetinaNetOptions
) -> np.ndarray:
    """Return the largest IoU of each of `boxes [N, 4]` with any anchor: see `ops.coverage.best_overlap`."""
    return best_overlap(boxes, *image_size, options.anchor_spec(*levels))


def _anchors_of(raw: Raw, options: RetinaNetOptions, image_size: ImageSize) -> Tensor:
    levels = [int(name.removeprefix("P")) for name in raw["class_logits"]]
    return concatenate(anchors(*image_size, options.anchor_spec(min(levels), max(levels))))


def _per_location(options: RetinaNetOptions) -> int:
    return options.num_scales * len(options.aspect_ratios)


def _anchor_options(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Convert an anchor spec that an earlier version stored to options; its levels are those of the backbone."""
    names = {"size": "anchor_size"}
    others = ("min_level", "max_level", "order")
    return {names.get(name, name): value for name, value in spec.items() if name not in others}


def _old_architecture(architecture: dict[str, Any]) -> dict[str, Any] | None:
    if NAME not in architecture:
        return None
    head = architecture[NAME]
    depth = {"head_depth": head["depth"], "head_width": head["width"]}
    options = depth | _anchor_options(architecture["anchors"])
    return {"backbone": architecture["backbone"], "head": NAME, "classes": head["classes"], "options": options}


def _old_metadata(fields: dict[str, Any]) -> dict[str, Any] | None:
    """Convert metadata of format 2, where every detector is a RetinaNet, without its depth and width."""
    if fields.get("task") != "detection":
        return None
    options: dict[str, Any] = {}
    for key in ("anchors", "decoding"):
        told = fields.get(key)
        if not isinstance(told, dict) or not told:
            raise ValueError(f"{key}: must be a non-empty mapping for a detector. Received: {told!r:.100}")
        options |= _anchor_options(told)
        try:
            RetinaNetOptions.of(options)
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from None
    return {"head": NAME, "options": options}


RetinaNet.decoding = Decoding(decode, flatten, candidates, select_candidates, post_processed_anchors, coverage)

ROW = Head(
    NAME,
    "detection",
    RetinaNetOptions,
    RetinaNet,
    layouts={
        "class_logits": "[batch, row, column, anchor * classes + class], sigmoid gives scores",
        "box_deltas": "[batch, row, column, anchor * 4 + (ty, tx, th, tw)], relative to the anchors: "
        "row, column, scale, aspect ratio (width / height); center (i + 0.5) * 2^level px, "
        "side anchor_size * 2^level * 2^(scale / num_scales) px",
    },
    class_layers={"class_predictor": ClassAxis()},
    outputs=("raw", "decoded", "detections", "postprocess"),
    smallest={"head_depth": 1, "head_width": 8, "anchor_size": AnchorSpec.size},
    decoding=RetinaNet.decoding,
    experiment=ExperimentKeys(
        options={
            "head_depth": "task.model.head.num_convs",
            "head_width": "task.model.head.num_filters",
            "num_scales": "task.model.anchor.num_scales",
            "aspect_ratios": "task.model.anchor.aspect_ratios",
            "anchor_size": "task.model.anchor.anchor_size",
            "focal_alpha": "task.losses.focal_loss_alpha",
            "focal_gamma": "task.losses.focal_loss_gamma",
            "huber_delta": "task.losses.huber_loss_delta",
            "box_weight": "task.losses.box_loss_weight",
            "score_threshold": "task.model.detection_generator.pre_nms_score_threshold",
            "iou_threshold": "task.model.detection_generator.nms_iou_threshold",
            "max_detections": "task.model.detection_generator.max_num_detections",
            "pre_nms_top_k": "task.model.detection_generator.pre_nms_top_k",
        },
        same={
            "task.model.head.share_level_convs": (True, None),
            "task.model.detection_generator.decode_boxes": (True,),
            "task.max_num_eval_detections": (100,),
        },
        separable=("task.model.head.use_separable_conv",),
    ),
    old_architecture=_old_architecture,
    old_metadata=_old_metadata,
)
