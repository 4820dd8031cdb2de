"""The interface of a head: all that the rest of the package knows about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from spinenet_tf.heads.experiment_keys import ExperimentKeys
from spinenet_tf.nets.backbone import Backbone
from spinenet_tf.nets.base import SpineNetModel
from spinenet_tf.nets.calls import calls
from spinenet_tf.nets.options import Options
from spinenet_tf.ops.boxes import Tensor

# A detector's outputs: {"class_logits": {"P3": [B, h, w, K], ...}, ...}, or {"boxes": [B, M, 4], ...} without levels.
Raw = Mapping[str, Any]
ImageSize = tuple[Any, Any]  # height and width in pixels


def _selected_already(*_: Any) -> Any:
    raise ValueError("The net of this head selects the detections itself: only its detections can be used.")


@dataclass(frozen=True)
class Decoding:
    """Pure functions from a detector's raw outputs to detections, for Keras, exported models and their readers.

    `options` are those of the head; boxes are yxyx in pixels of the input, clipped to it.
    """

    # (raw, options, image_size, nms=None) to detections, as `ops.decoding.detections` returns them; `nms` replaces
    # `ops.decoding.greedy_nms`, and is ignored by a head without NMS after its raw outputs
    decode: Callable[..., dict[str, Tensor]]
    # (raw, options) to {output: [B, N, K]}, one row per location that may have an object; class logits come first.
    # A head whose net selects the detections itself has neither this nor the next two.
    flatten: Callable[[Raw, Any], dict[str, Tensor]] = _selected_already
    # (raw, options, image_size) to the boxes [B, N, 4] and the scores [B, N, C] of all locations
    candidates: Callable[[Raw, Any, ImageSize], tuple[Tensor, Tensor]] = _selected_already
    # (boxes, scores, options) to detections, from the boxes and scores of `candidates`
    select: Callable[[Tensor, Tensor, Any], dict[str, Tensor]] = _selected_already
    # (raw, options, image_size) to the anchors [N, 4] that the second output of `flatten` is encoded relative to; only
    # for heads whose outputs "postprocess" are those of the custom operation
    anchors: Callable[[Raw, Any, ImageSize], np.ndarray] | None = None
    # (boxes [N, 4], image_size, levels, options) to the largest IoU of each box with any anchor, [N]
    coverage: Callable[[np.ndarray, tuple[int, int], tuple[int, int], Any], np.ndarray] | None = None

    @property
    def selects(self) -> bool:
        """Whether raw outputs are detections that the net has selected, not all locations."""
        return self.flatten is _selected_already


@dataclass(frozen=True)
class ClassAxis:
    """How the last axis of a layer's weights counts classes: `[groups, background + classes, values]`."""

    groups: int | None = None  # such as anchors; None: any number, and then there is no background to skip
    values: int = 1  # numbers of each class


@dataclass(frozen=True)
class Head:
    """A row in the table of heads: name, task, options, model class, and the outputs that can be exported."""

    name: str
    task: str  # "detection", "instance segmentation" or "classification"
    options: type[Options]
    build: Callable[[Backbone, int, Any], SpineNetModel]  # (backbone, number of classes, options)
    layouts: Mapping[str, str]  # descriptions of the raw outputs by name, for the metadata of exported files
    class_layers: Mapping[str, ClassAxis]  # layers whose last axis depends on the number of classes
    outputs: tuple[str, ...] = ("raw",)  # outputs of exported files: see `export.tflite`
    smallest: Mapping[str, Any] = field(default_factory=dict)  # options of the cheapest model
    decoding: Decoding | None = None  # only for detectors
    experiment: ExperimentKeys = field(default_factory=ExperimentKeys)  # none if TF Model Garden has no counterpart
    # Convert the architecture in a weights file, or the metadata of an exported file, of earlier versions to the form
    # of this version; return None if it belongs to another head.
    old_architecture: Callable[[dict[str, Any]], dict[str, Any] | None] = lambda _: None
    old_metadata: Callable[[dict[str, Any]], dict[str, Any] | None] = lambda _: None

    @property
    def detects(self) -> bool:
        """Whether its models detect objects."""
        return self.decoding is not None

    @property
    def selects(self) -> bool:
        """Whether its nets select the detections themselves: see `Decoding.selects`."""
        return self.decoding is not None and self.decoding.selects


def with_limit(head: Head, options: Any, max_detections: int) -> Any:
    """Return a detector's options with another limit of detections per image.

    Raises:
        ValueError: the net selects the detections itself, and fewer than these.
    """
    given = options.max_detections
    if head.selects and max_detections > given:
        raise ValueError(f"The net selects up to {given} detections per image. Received: {max_detections=}")
    return replace(options, max_detections=max_detections)


def nms_layers(model: SpineNetModel) -> set[Any]:
    """Return the layers of a net that selects detections whose attribute `nms` replaces `ops.decoding.greedy_nms`."""
    return {layer for layer, *_ in calls(model) if hasattr(layer, "nms")}
