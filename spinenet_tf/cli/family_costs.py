"""Count parameters and multiply-adds of each model, next to the published figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from spinenet_tf.checkpoints.coco_classes import COCO_COUNT
from spinenet_tf.heads.table import head_of
from spinenet_tf.models import detector
from spinenet_tf.nets.backbone import Backbone
from spinenet_tf.nets.costs import count_params, multiply_adds, without_values
from spinenet_tf.nets.family import list_models, variant
from spinenet_tf.nets.specs import ArchitectureSpec

IMAGENET_CLASSES = 1000


def summarize(models: Sequence[str | ArchitectureSpec] | None = None) -> list[dict[str, Any]]:
    """Count the costs of models by name, of custom graphs, or of all models: the detector for COCO at the default size.

    Returns:
        One dict of plain JSON types per model: "name", "input" (px), "backbone_params" (with all levels that it
        outputs), "detector_params" (91 classes), "classifier_params" (1000 classes; None if the classifier cannot read
        its levels), "macs_published_order" and "macs" (as the graph runs) of the detector, and "published", the fields
        of `family.Published`. Only trainable parameters count. Multiply-adds are those of convs only; FLOPs are twice
        as many.

    Raises:
        ValueError: a name is unknown; the message lists the valid ones.
    """
    models = list_models() if models is None else models
    for model in models:
        variant(model)
    return [_count(model) for model in models]


def _count(model: str | ArchitectureSpec) -> dict[str, Any]:
    row = variant(model)
    net = without_values(lambda: detector(model, COCO_COUNT, (row.image_size, row.image_size, 3)))
    return {
        "name": model if isinstance(model, str) else model.name,
        "input": row.image_size,
        "backbone_params": count_params(net.backbone),
        "detector_params": count_params(net),
        "classifier_params": _classifier_params(model, net.backbone),
        "macs_published_order": multiply_adds(net, published_order=True),
        "macs": multiply_adds(net),
        "published": asdict(row.published),
    }


def _classifier_params(model: str | ArchitectureSpec, backbone: Backbone) -> int | None:
    head = head_of(model, "classification")
    try:
        return count_params(without_values(lambda: head.build(backbone, IMAGENET_CLASSES, head.options())))
    except ValueError:  # the head does not read these levels
        return None
