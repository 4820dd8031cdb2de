"""What a row of the table of heads says: all that the rest of the package asks of a head."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from spinenet_tf.nets.backbone import Backbone
from spinenet_tf.nets.base import SpineNetModel
from spinenet_tf.nets.options import Options
from spinenet_tf.ops.boxes import Tensor

Raw = Mapping[str, Mapping[str, Any]]  # a detector's outputs: {"class_logits": {"P3": [B, h, w, K], ...}, ...}
ImageSize = tuple[Any, Any]  # height and width in pixels


@dataclass(frozen=True)
class Decoding:
    """How a detector's raw outputs become detections, in pure functions that Keras, exports and readers share.

    `options` are those of the head; boxes are yxyx in pixels of the input, clipped to it.
    """

    # (raw, options) to {output: [B, N, K]}, a row for each place that may hold an object; the class logits first
    flatten: Callable[[Raw, Any], dict[str, Tensor]]
    # (raw, options, image_size, nms=None) to what `ops.decoding.detections` returns; `nms` is another NMS than Keras's,
    # as `ops.decoding.greedy_nms` is one, and left alone by a head without NMS
    decode: Callable[..., dict[str, Tensor]]
    # (raw, options, image_size) to the boxes [B, N, 4] and the scores [B, N, C] of all places
    candidates: Callable[[Raw, Any, ImageSize], tuple[Tensor, Tensor]]
    # (boxes, scores, options) to what `decode` returns
    select: Callable[[Tensor, Tensor, Any], dict[str, Tensor]]
    # (raw, options, image_size) to the anchors [N, 4] that the second output of `flatten` is coded relative to, for the
    # outputs "postprocess"
    anchors: Callable[[Raw, Any, ImageSize], np.ndarray] | None = None
    # (boxes [N, 4], image_size, levels, options) to the largest IoU of each box with an anchor, [N]
    coverage: Callable[[np.ndarray, tuple[int, int], tuple[int, int], Any], np.ndarray] | None = None


@dataclass(frozen=True)
class Head:
    """One head: its name, its task, its options, how it is built, and what its models can be exported as."""

    name: str
    task: str  # "detection" or "classification"
    options: type[Options]
    build: Callable[[Backbone, int, Any], SpineNetModel]  # (backbone, number of classes, options)
    layouts: Mapping[str, str]  # of the raw outputs by name, in words for those who read a file
    class_layers: tuple[str, ...]  # whose weights count classes on their last axis
    outputs: tuple[str, ...] = ("raw",)  # that a file may have: also "decoded", "detections" and "postprocess"
    smallest: Mapping[str, Any] = field(default_factory=dict)  # options that cost as little as they can
    decoding: Decoding | None = None  # of a detector
    # From what earlier versions wrote, the architecture in a weights file or an artifact's metadata, to what this one
    # writes; None of what is another head's.
    old_architecture: Callable[[dict[str, Any]], dict[str, Any] | None] = lambda _: None
    old_metadata: Callable[[dict[str, Any]], dict[str, Any] | None] = lambda _: None
