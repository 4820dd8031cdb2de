"""The factory: models of the family by name, or of one's own graph."""

from __future__ import annotations

import inspect
import os
from dataclasses import fields
from typing import Any

from spinenet_tf.heads.classifier import Classifier
from spinenet_tf.heads.retinanet import DecodingSpec, LossSpec, RetinaNet
from spinenet_tf.nets.backbone import Backbone
from spinenet_tf.nets.family import unknown, variant
from spinenet_tf.nets.specs import MAX_LEVEL, ArchitectureSpec
from spinenet_tf.ops.anchors import AnchorSpec

InputShape = tuple[int | None, int | None, int]

HEADS = ("retinanet",)
LEVELS = ("min_level", "max_level")
_FIXED = ("self", "spec", "input_shape", *LEVELS, "name")
BACKBONE_OVERRIDES = tuple(name for name in inspect.signature(Backbone.__init__).parameters if name not in _FIXED)
_ANCHOR_OVERRIDES = {"num_scales": "num_scales", "aspect_ratios": "aspect_ratios", "anchor_size": "size"}
_SPEC_OVERRIDES = {spec: tuple(field.name for field in fields(spec)) for spec in (LossSpec, DecodingSpec)}
DETECTOR_OVERRIDES = ("head_depth", "head_width", *_ANCHOR_OVERRIDES, *sum(_SPEC_OVERRIDES.values(), ()))


def backbone(
    name: str | ArchitectureSpec,
    input_shape: InputShape = (640, 640, 3),
    min_level: int = 3,
    max_level: int = MAX_LEVEL,
    weights: str | os.PathLike | None = None,
    **overrides: Any,
) -> Backbone:
    """Build a backbone from images `[B, H, W, 3]` to `{"P3": ..., "P7": ...}`, by name or from one's own spec.

    `weights` are "coco" or a file, as `checkpoints.pretrained.load_pretrained` takes them; None starts afresh. The
    activation and the gate of "coco" and of other archives are found by their BN statistics, if they are not given.

    `overrides` are the arguments of `Backbone`: width, alpha, repeats, endpoint, activation, stochastic_depth,
    se_ratio, se_gate, norm_momentum, norm_epsilon, sync_bn, l2, tf1_zoo.

    Raises:
        ValueError: an unknown name or override (the message lists the valid ones), a level that the graph does not
        output, a side under 32 px, or as `load_pretrained` does.
    """
    _check_overrides(overrides, BACKBONE_OVERRIDES)
    row = variant(name)
    scaling = {key: getattr(row, key) for key in ("width", "alpha", "repeats", "endpoint", "activation", "se_ratio")}
    title = name if isinstance(name, str) else row.graph.name
    levels = {"min_level": min_level, "max_level": max_level}
    trained = _trained_with(weights, name, "backbone", overrides | levels)
    scaling |= _pick(trained, BACKBONE_OVERRIDES)
    net = Backbone(row.graph, input_shape, min_level, max_level, **scaling | overrides, name=title)
    return _with_weights(net, weights, title)


def classifier(
    name: str | ArchitectureSpec,
    num_classes: int,
    input_shape: InputShape = (224, 224, 3),
    weights: str | os.PathLike | None = None,
    **overrides: Any,
) -> Classifier:
    """Build a classifier to logits `[B, num_classes]`; train it with a loss that takes logits.

    `weights` are a file of such a classifier; None starts afresh. `overrides` are those of `backbone`, and its levels.

    Raises:
        ValueError: as `backbone` does.
    """
    trained = _trained_with(weights, name, "classifier", overrides)
    net = backbone(name, input_shape, **_pick(trained, BACKBONE_OVERRIDES) | overrides)
    return _with_weights(Classifier(net, num_classes), weights, net.name)


def detector(
    name: str | ArchitectureSpec,
    num_classes: int,
    input_shape: InputShape = (640, 640, 3),
    head: str = "retinanet",
    weights: str | os.PathLike | None = None,
    **overrides: Any,
) -> RetinaNet:
    """Build a detector for `num_classes` classes, numbered from 0, without a background class.

    `weights` are "coco" or a file, as `checkpoints.pretrained.load_pretrained` takes them; None starts afresh. With
    "coco", `num_classes` is 91 and a class is its COCO category id. Activation and gate are those of `backbone`.

    `overrides` are those of `backbone`, min_level, max_level, head_depth, head_width, num_scales, aspect_ratios,
    anchor_size (in strides) and the fields of `LossSpec` and `DecodingSpec`.

    Raises:
        ValueError: an unknown head, or as `backbone` does.
    """
    if head not in HEADS:
        raise ValueError(f"Valid heads are {HEADS}. Received: head={head!r}")
    _check_overrides(overrides, LEVELS + BACKBONE_OVERRIDES + DETECTOR_OVERRIDES)
    row = variant(name)
    overrides = _trained_with(weights, name, "detector", overrides, num_classes) | overrides
    net = backbone(name, input_shape, **_pick(overrides, LEVELS + BACKBONE_OVERRIDES))
    anchor_fields = {_ANCHOR_OVERRIDES[key]: overrides[key] for key in _ANCHOR_OVERRIDES if key in overrides}
    model = RetinaNet(
        net,
        num_classes,
        overrides.get("head_depth", row.head_depth),
        overrides.get("head_width", row.head_width),
        AnchorSpec(net.min_level, net.max_level, **{"size": row.anchor_size} | anchor_fields),
        LossSpec(**_pick(overrides, _SPEC_OVERRIDES[LossSpec])),
        DecodingSpec(**_pick(overrides, _SPEC_OVERRIDES[DecodingSpec])),
    )
    return _with_weights(model, weights, net.name)


def _trained_with(
    weights: str | os.PathLike | None,
    name: str | ArchitectureSpec,
    kind: str,
    overrides: dict[str, Any],
    num_classes: int | None = None,
) -> dict[str, Any]:
    """Return the overrides that `weights` were trained with, as far as `overrides` do not say them."""
    if weights is None:
        return {}
    from spinenet_tf.checkpoints.pretrained import check_weights, trained_with

    check_weights(weights, name, kind, num_classes)
    return trained_with(weights, name, overrides)


def _with_weights(model: Any, weights: str | os.PathLike | None, name: str) -> Any:
    if weights is not None:
        from spinenet_tf.checkpoints.pretrained import load_pretrained

        load_pretrained(model, weights, name)
    return model


def _pick(overrides: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in overrides.items() if name in names}


def _check_overrides(overrides: dict[str, Any], valid: tuple[str, ...]) -> None:
    strangers = [name for name in overrides if name not in valid]
    if strangers:
        raise ValueError(unknown("override", strangers, valid))
