"""The factory: models of the family by name, or of one's own graph."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from typing import Any

from spinenet_tf._files.messages import unknown
from spinenet_tf.heads.detector import DetectionModel
from spinenet_tf.heads.head import Head
from spinenet_tf.heads.model import HeadModel
from spinenet_tf.heads.options import Options
from spinenet_tf.heads.table import default_head, find_head
from spinenet_tf.nets.backbone import Backbone
from spinenet_tf.nets.family import Net, variant

InputShape = tuple[int | None, int | None, int]

LEVELS = ("min_level", "max_level")
_FIXED = ("self", "spec", "input_shape", *LEVELS, "name")
BACKBONE_OVERRIDES = tuple(name for name in inspect.signature(Backbone.__init__).parameters if name not in _FIXED)


def backbone(
    name: Net,
    input_shape: InputShape = (640, 640, 3),
    min_level: int | None = None,
    max_level: int | None = None,
    weights: str | os.PathLike | None = None,
    **overrides: Any,
) -> Backbone:
    """Build a backbone from images `[B, H, W, 3]` to `{"P3": ..., "P7": ...}`, by name or from one's own spec.

    Levels are by default all from P3 on that the graph outputs.

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
    first, last = row.graph.levels
    levels = (first if min_level is None else min_level, last if max_level is None else max_level)
    trained = _trained_with(weights, name, overrides | dict(zip(LEVELS, levels, strict=True)))
    net = Backbone(
        row.graph, input_shape, *levels, **scaling | _pick(trained, BACKBONE_OVERRIDES) | overrides, name=title
    )
    return _with_weights(net, weights, title)


def backbone_builder(name: Net, overrides: Mapping[str, Any]) -> Callable[..., Backbone]:
    """Return `build(input_shape, **more)`: a backbone of a model with these overrides and more, a head's left out."""

    def build(input_shape: InputShape, **more: Any) -> Backbone:
        return backbone(name, input_shape, **_pick({**overrides, **more}, LEVELS + BACKBONE_OVERRIDES))

    return build


def classifier(
    name: Net,
    num_classes: int,
    input_shape: InputShape = (224, 224, 3),
    weights: str | os.PathLike | None = None,
    head: str | None = None,
    **overrides: Any,
) -> HeadModel:
    """Build a classifier to logits `[B, num_classes]`; train it with a loss that takes logits.

    `weights` are a file of such a classifier; None starts afresh. `head` is a name of `heads.table`,
    of which one classifies. `overrides` are those of `backbone`, and its levels.

    Raises:
        ValueError: as `backbone` does.
    """
    return _model("classification", name, num_classes, input_shape, head, weights, overrides)


def detector(
    name: Net,
    num_classes: int,
    input_shape: InputShape = (640, 640, 3),
    head: str | None = None,
    weights: str | os.PathLike | None = None,
    **overrides: Any,
) -> DetectionModel:
    """Build a detector for `num_classes` classes, numbered from 0, without a background class.

    `head` is a name of `heads.table`, by default the one that the net was published with. `weights` are "coco" or a
    file, as `checkpoints.pretrained.load_pretrained` takes them; None starts afresh. With "coco", `num_classes` is 91
    and a class is its COCO category id. Activation and gate are those of `backbone`.

    `overrides` are those of `backbone`, min_level, max_level and the options of the head, which `Options` of its file
    lists: score_threshold, max_detections, and what only it has.

    Raises:
        ValueError: an unknown head, an option out of its range, or as `backbone` does.
    """
    return _model("detection", name, num_classes, input_shape, head, weights, overrides)


def find_options(name: Net, head: str | None, task: str, given: dict[str, Any]) -> tuple[Head, Options]:
    """Return a head and its options for a net: what is `given` over what the net was published with.

    Raises:
        ValueError: the net, the head or an option is unknown, or an option out of its range.
    """
    row = variant(name)
    found = default_head(row.heads, task) if head is None else find_head(head, task)
    return found, found.options.of({**row.heads.get(found.name, {}), **given})


def _model(
    task: str,
    name: Net,
    num_classes: int,
    input_shape: InputShape,
    head: str | None,
    weights: str | os.PathLike | None,
    overrides: dict[str, Any],
) -> Any:
    found = find_options(name, head, task, {})[0]
    names = found.options.names()
    _check_overrides(overrides, LEVELS + BACKBONE_OVERRIDES + names)
    overrides = _trained_with(weights, name, overrides, found.name, num_classes) | overrides
    options = find_options(name, found.name, task, _pick(overrides, names))[1]
    net = backbone(name, input_shape, **_pick(overrides, LEVELS + BACKBONE_OVERRIDES))
    return _with_weights(found.build(net, num_classes, options), weights, net.name)


def _trained_with(
    weights: str | os.PathLike | None,
    name: Net,
    overrides: dict[str, Any],
    head: str | None = None,
    num_classes: int | None = None,
) -> dict[str, Any]:
    """Return the overrides that `weights` were trained with, as far as `overrides` do not say them."""
    if weights is None:
        return {}
    from spinenet_tf.checkpoints.pretrained import check_weights, trained_with

    check_weights(weights, name, head, num_classes)
    return trained_with(weights, name, backbone_builder(name, overrides), overrides)


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
