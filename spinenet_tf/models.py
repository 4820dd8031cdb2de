"""Build models by name, or from a custom graph."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from spinenet_tf._files.messages import unknown
from spinenet_tf.checkpoints.coco_classes import COCO, COCO_COUNT, class_names_of
from spinenet_tf.heads.classes import Classes, check_same
from spinenet_tf.heads.detector import DetectionModel
from spinenet_tf.heads.model import HeadModel
from spinenet_tf.heads.table import find_head, head_of, options_of
from spinenet_tf.nets.backbone import Backbone
from spinenet_tf.nets.dtype import Dtype
from spinenet_tf.nets.family import Net, variant
from spinenet_tf.nets.style import Style

if TYPE_CHECKING:
    from spinenet_tf.checkpoints.pretrained import Pretrained

InputShape = tuple[int | None, int | None, int]
DETECTS = ("detection", "instance segmentation")  # the tasks of detectors, the default first


def backbone(
    name: Net,
    input_shape: InputShape = (640, 640, 3),
    weights: str | os.PathLike | None = None,
    *,
    dtype: Dtype = None,
    include_preprocessing: bool = False,
    **overrides: Any,
) -> Backbone:
    """Build a backbone from images `[B, H, W, 3]` to `{"P3": ..., "P7": ...}`, by name or from a custom spec.

    `weights` is "coco" or the path of a file (see `checkpoints.pretrained.Pretrained`); None means random
    initialization. For "coco" and other archives, an activation or SE gate that is not given is inferred from the BN
    statistics.

    `dtype` is a Keras dtype policy, such as "mixed_bfloat16"; a `DTypePolicyMap` has a policy for each layer. None
    means Keras's global policy. Weights files do not depend on it.

    Images are RGB, normalized by ImageNet's mean and deviation. With `include_preprocessing`, they are pixels in
    0..255, uint8 or float, and the model normalizes them; weights files fit both kinds of models. `fit`, `evaluate` and
    `predict` refuse values outside of 0..255 then, and integers otherwise.

    `overrides` are the fields of `nets.style.Style`, which documents them: min_level, max_level, width, alpha,
    repeats, endpoint, activation, stochastic_depth, se_ratio, se_gate, norm_momentum, norm_epsilon, sync_bn, l2,
    tf1_zoo.

    Raises:
        ValueError: an unknown name or override (the message lists the valid ones), a value out of range, a level that
            the graph does not output, a side under 32 px, or any error of `Pretrained`.
    """
    _check_overrides(overrides, Style.names())
    row = variant(name)
    title = name if isinstance(name, str) else row.graph.name
    start = _pretrained(weights, name)
    trained = _trained_with(start, name, overrides)
    style = Style.of({**row.style, **_pick(trained, Style.names()), **overrides})
    net = Backbone(row.graph, input_shape, style, title, dtype, include_preprocessing)
    return _with_weights(net, start)


def backbone_builder(name: Net, overrides: Mapping[str, Any]) -> Callable[..., Backbone]:
    """Return `build(input_shape, **more)`, which builds the backbone with these overrides and ignores a head's."""

    def build(input_shape: InputShape, **more: Any) -> Backbone:
        return backbone(name, input_shape, **_pick({**overrides, **more}, Style.names()))

    return build


def classifier(
    name: Net,
    num_classes: int | None = None,
    input_shape: InputShape = (224, 224, 3),
    weights: str | os.PathLike | None = None,
    head: str | None = None,
    *,
    class_names: Sequence[str] | None = None,
    dtype: Dtype = None,
    include_preprocessing: bool = False,
    **overrides: Any,
) -> HeadModel:
    """Build a classifier that outputs logits `[B, num_classes]`; train it with a loss that takes logits.

    `class_names` are in the order of the class numbers, and travel with the model in all files; `num_classes` may then
    be left out. `weights` is a file of weights of the same classifier; None means random initialization. `head` is the
    name of a classification head in `heads.table`; there is one. `dtype`, `include_preprocessing` and `overrides` are
    those of `backbone`; the logits are always float32.

    Raises:
        ValueError: neither `num_classes` nor `class_names` is given, they disagree, a name is empty or occurs twice, or
            see `backbone`.
    """
    classes = Classes.of(num_classes, class_names)
    form = {"dtype": dtype, "include_preprocessing": include_preprocessing}
    return _model(("classification",), name, classes, input_shape, head, weights, form, overrides)


def detector(
    name: Net,
    num_classes: int | None = None,
    input_shape: InputShape = (640, 640, 3),
    head: str | None = None,
    weights: str | os.PathLike | None = None,
    *,
    class_names: Sequence[str] | None = None,
    category_ids: Sequence[int] | None = None,
    dtype: Dtype = None,
    include_preprocessing: bool = False,
    **overrides: Any,
) -> DetectionModel:
    """Build a detector for `num_classes` classes, numbered from 0, without a background class.

    `class_names` are in the order of the class numbers, and travel with the model in all files; `num_classes` may then
    be left out. `category_ids` are the ids of these classes in COCO files, by default class + 1.

    `head` is the name of a head in `heads.table` that detects objects, or also segments them; by default the detection
    head that the net was published with.
    `weights` is as in `backbone`; with "coco", the model has the 91 classes of the published one, whose numbers and
    category ids are equal, and whose class 0 is the background. `dtype` and `include_preprocessing` are as in
    `backbone`; losses and detections are always computed in float32.

    `overrides` are those of `backbone` and the options of the head: score_threshold, max_detections, and the fields of
    the options class in the head's file.

    Raises:
        ValueError: neither `num_classes` nor `class_names` is given, they disagree, a name is empty or occurs twice, an
            unknown head, an option out of range, or see `backbone`.
        ClassNamesError: the class names differ from those in the file `weights`.
    """
    if weights == COCO and class_names is None:
        num_classes = COCO_COUNT if num_classes is None else num_classes
    classes = Classes.of(num_classes, class_names, category_ids)
    form = {"dtype": dtype, "include_preprocessing": include_preprocessing}
    return _model(DETECTS, name, classes, input_shape, head, weights, form, overrides)


def _model(
    tasks: tuple[str, ...],
    name: Net,
    classes: Classes,
    input_shape: InputShape,
    head: str | None,
    weights: str | os.PathLike | None,
    form: dict[str, Any],
    overrides: dict[str, Any],
) -> Any:
    row = head_of(name, tasks[0]) if head is None else find_head(head, *tasks)
    names = row.options.names()
    _check_overrides(overrides, Style.names() + names)
    start = _pretrained(weights, name, row.name, classes.count)
    classes = _of_coco(classes) if weights == COCO else classes
    overrides = _trained_with(start, name, overrides) | overrides
    options = options_of(name, row, _pick(overrides, names))
    net = backbone(name, input_shape, **form, **_pick(overrides, Style.names()))
    model = row.build(net, classes.count, options)
    if classes.names:
        model.class_names = classes.names
    if classes.category_ids:
        model.category_ids = classes.category_ids
    return _with_weights(model, start)


def _of_coco(classes: Classes) -> Classes:
    """Return the classes of the published COCO weights; raise ClassNamesError if others are given."""
    names = class_names_of(classes.count)
    check_same(COCO, names, classes.names or names)
    return Classes(classes.count, names, classes.category_ids)


def _pretrained(
    weights: str | os.PathLike | None, name: Net, head: str | None = None, num_classes: int | None = None
) -> Pretrained | None:
    if weights is None:
        return None
    from spinenet_tf.checkpoints.pretrained import Pretrained

    return Pretrained(weights, name, head, num_classes)


def _trained_with(start: Pretrained | None, name: Net, overrides: dict[str, Any]) -> dict[str, Any]:
    """Return the overrides that the weights were trained with and that `overrides` does not set."""
    return start.trained_with(backbone_builder(name, overrides), overrides) if start else {}


def _with_weights(model: Any, start: Pretrained | None) -> Any:
    if start:
        start.load(model)
    return model


def _pick(overrides: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in overrides.items() if name in names}


def _check_overrides(overrides: dict[str, Any], valid: tuple[str, ...]) -> None:
    invalid = [name for name in overrides if name not in valid]
    if invalid:
        raise ValueError(unknown("override", invalid, valid))
