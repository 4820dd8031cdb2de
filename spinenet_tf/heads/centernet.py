"""CenterNet ("Objects as Points", Zhou 2019): options, layers, losses and decoding. Source: arXiv 1904.07850."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from spinenet_tf._fast.replicas import replica_count, sum_over_replicas
from spinenet_tf._fast.variables import named_alike
from spinenet_tf.heads.detector import DetectionModel, DetectionOptions
from spinenet_tf.heads.head import ClassAxis, Decoding, Head, ImageSize, Raw
from spinenet_tf.nets.backbone import Backbone
from spinenet_tf.nets.options import MAX_CHANNELS, option
from spinenet_tf.nets.resample import fuse, upsample
from spinenet_tf.nets.style import Style
from spinenet_tf.ops.boxes import Tensor
from spinenet_tf.ops.center_losses import object_count, point_losses
from spinenet_tf.ops.decoding import Nms
from spinenet_tf.ops.heatmaps import RADII, center_detections, center_targets, decoded_centers, select_centers

NAME = "centernet"
STRIDES = (4, 8)
TOWERS = ("auto", "full", "separable")
HEATMAP_BIAS = -2.19  # initial bias of the heatmap, as published: a probability of 0.1


@dataclass(frozen=True)
class CenterNetOptions(DetectionOptions):
    """The options of CenterNet; the defaults are the published ones, except for mobile towers.

    The authors' code halves the losses of sizes and offsets: see `ops.center_losses.point_losses`.
    """

    # Stride of the output maps in pixels, 4 or 8. All levels of the backbone are fused at its finest level, and
    # upsampled if the stride is smaller than that level's. 8 is faster, with a lower AP: see `docs/heads.md`.
    stride: int = option(4, min(STRIDES), max(STRIDES), of_weights=True)
    head_width: int = option(64, 1, MAX_CHANNELS, of_weights=True)  # channels of the 3x3 conv before each output
    # Kind of that 3x3 conv; "auto" is "separable" on mobile nets and "full" on others.
    tower: str = option("auto", choices=TOWERS, of_weights=True)
    focal_alpha: float = option(2.0, 0)  # larger values reduce the loss of cells that are already right
    focal_beta: float = option(4.0, 0)  # larger values reduce the loss of negative cells near a center
    size_weight: float = option(0.1, 0)  # weight of the size loss
    offset_weight: float = option(1.0, 0)  # weight of the offset loss
    radius: str = option("published", choices=RADII)  # radius of the Gaussians; "exact" is a third of "published"
    min_overlap: float = option(0.7, above=0, high=1)  # IoU that a box keeps if its corners move by the radius
    score_threshold: float = option(0.0, 0, 1)  # as published, all peaks are detections

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stride not in STRIDES:
            raise ValueError(f"`stride` must be one of {STRIDES}. Received: stride={self.stride}")

    @property
    def level(self) -> int:
        """The level of the output maps: 2 for stride 4."""
        return self.stride.bit_length() - 1


@keras.saving.register_keras_serializable("spinenet_tf")
class CenterNet(DetectionModel):
    """A backbone with the CenterNet head.

    Calling it returns `{"heatmap": {"P3": [B, h, w, num_classes]}, "sizes": {"P3": [B, h, w, 2]}, "offsets": {"P3":
    [B, h, w, 2]}}`: logits; (height, width) in cells; and the position (y, x) of a center within its cell, in cells.

    Raises:
        ValueError: see `DetectionModel`; or the backbone's finest level is finer than the stride.
    """

    head = NAME
    options_type = CenterNetOptions
    loss_names = ("heatmap_loss", "size_loss", "offset_loss")
    options: CenterNetOptions

    @staticmethod
    def outputs_of(backbone: Backbone, images: Any, num_classes: int, options: CenterNetOptions):
        return centernet_head(
            backbone(images), images, num_classes, options, backbone.spec.is_separable, backbone.style
        )

    def losses_of(self, raw, truth, image_size, weights, training=True):
        return losses(raw, truth, self.options, weights)


@named_alike()
def centernet_head(
    features: Mapping, image: Any, num_classes: int, options: CenterNetOptions, separable: bool, style: Style
) -> dict[str, dict]:
    """Return the raw outputs of `CenterNet` from the features `{"P3": [B, h, w, K], ...}` and the image.

    `separable` is the kind of the "auto" tower.

    Raises:
        ValueError: the finest level is finer than the stride.
    """
    finest, level = min(int(name[1:]) for name in features), options.level
    if finest < level:
        raise ValueError(
            f"`stride` must be at most {2**finest}, that of the backbone's finest level, P{finest}. "
            f"Received: stride={options.stride}"
        )
    x = upsample(fuse(features, image, style, name="head"), image, finest, level, style, name=f"head_P{level}")
    if options.tower != "auto":
        separable = options.tower == "separable"
    outputs = {"heatmap": (num_classes, HEATMAP_BIAS), "sizes": (2, 0.0), "offsets": (2, 0.0)}
    return {
        name: {f"P{level}": _tower(x, options.head_width, filters, bias, separable, style, name)}
        for name, (filters, bias) in outputs.items()
    }


def _tower(x, width: int, filters: int, bias: float, separable: bool, style: Style, name: str):
    """Apply a 3x3 conv and a 1x1 conv, with biases and without BN, as published."""
    decay = style.regularizer
    if separable:
        conv = keras.layers.SeparableConv2D(width, 3, padding="same", pointwise_regularizer=decay, name=f"{name}_conv")
    else:
        conv = keras.layers.Conv2D(width, 3, padding="same", kernel_regularizer=decay, name=f"{name}_conv")
    predictor = keras.layers.Conv2D(
        filters,
        1,
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.001),
        bias_initializer=keras.initializers.Constant(bias),
        kernel_regularizer=decay,
        name=f"{name}_predictor",
    )
    return predictor(keras.layers.Activation("relu", name=f"{name}_act")(conv(x)))


def losses(
    raw: Raw, truth: Mapping[str, Any], options: CenterNetOptions, weights: Tensor | None = None
) -> dict[str, Tensor]:
    """Return the losses of raw outputs: see `ops.center_losses.point_losses`.

    `truth` has "boxes" `[B, N, 4]` and "classes" `[B, N]`; `weights [B]` weight the images.
    """
    maps = _maps(raw)
    (rows, columns), classes = ops.shape(maps["heatmap"])[1:3], maps["heatmap"].shape[-1]
    gaussian = (options.stride, options.min_overlap, options.radius)
    targets = center_targets(truth["boxes"], truth["classes"], rows, columns, classes, *gaussian)
    # With this normalizer, the mean over the replicas, which `fit` minimizes and logs, is the loss of the whole batch.
    objects = sum_over_replicas(object_count(targets, weights))
    normalizer = ops.maximum(objects, 1.0) / replica_count()
    names = ("focal_alpha", "focal_beta", "size_weight", "offset_weight")
    return point_losses(**maps, targets=targets, normalizer=normalizer, weights=weights, **_pick(options, names))


def flatten(raw: Raw, options: CenterNetOptions) -> dict[str, Tensor]:
    """Reshape the raw outputs to `[B, N, K]`, one row per cell."""
    return {name: ops.reshape(x, (ops.shape(x)[0], -1, x.shape[-1])) for name, x in _maps(raw).items()}


def decode(raw: Raw, options: CenterNetOptions, image_size: ImageSize, nms: Nms | None = None) -> dict[str, Tensor]:
    """Return the detections in raw outputs: see `ops.heatmaps.center_detections`. Peaks need no NMS."""
    height, width = image_size
    return center_detections(**_maps(raw), height=height, width=width, stride=options.stride, **_limits(options))


def candidates(raw: Raw, options: CenterNetOptions, image_size: ImageSize) -> tuple[Tensor, Tensor]:
    """Return the clipped boxes `[B, N, 4]` and the scores `[B, N, C]` of all cells; scores are 0 except at peaks."""
    height, width = image_size
    return decoded_centers(**_maps(raw), height=height, width=width, stride=options.stride)


def select_candidates(boxes: Tensor, scores: Tensor, options: CenterNetOptions) -> dict[str, Tensor]:
    """Return the same as `decode`, from the boxes and scores of `candidates`."""
    return select_centers(boxes, scores, **_limits(options))


def _maps(raw: Raw) -> dict[str, Tensor]:
    return {name: next(iter(raw[name].values())) for name in ("heatmap", "sizes", "offsets")}


def _limits(options: CenterNetOptions) -> dict[str, Any]:
    return _pick(options, ("score_threshold", "max_detections"))


def _pick(options: CenterNetOptions, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(options, name) for name in names}


CenterNet.decoding = Decoding(decode, flatten, candidates, select_candidates)

ROW = Head(
    NAME,
    "detection",
    CenterNetOptions,
    CenterNet,
    layouts={
        "heatmap": "[batch, row, column, class], sigmoid gives scores; an object where none of 8 neighbors is larger",
        "sizes": "[batch, row, column, (height, width)], in cells of 2^level px",
        "offsets": "[batch, row, column, (y, x)], of a center from its cell's top left corner, in cells",
    },
    class_layers={"heatmap_predictor": ClassAxis()},
    outputs=("raw", "decoded", "detections", "postprocess"),
    smallest={"head_width": 8},
    decoding=CenterNet.decoding,
)
