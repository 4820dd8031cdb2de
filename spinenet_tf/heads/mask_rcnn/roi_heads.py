"""The second stage of Mask R-CNN (He 2017): a box head and a mask head, which read the features of one ROI."""

from __future__ import annotations

from functools import partial
from typing import Any

import keras

from spinenet_tf.heads.mask_rcnn.options import BOX_CROP, MASK_CROP, MaskRCNNOptions
from spinenet_tf.nets.calls import Repeated
from spinenet_tf.nets.style import Style

BOX_HEAD, MASK_HEAD = "box_head", "mask_head"
CLASS_PREDICTOR, DELTA_PREDICTOR, MASK_PREDICTOR = "box_class_predictor", "box_delta_predictor", "mask_predictor"

_scaled_by_outputs = partial(keras.initializers.VarianceScaling, 2.0, "fan_out", "untruncated_normal")


def box_head(channels: int, outputs: int, options: MaskRCNNOptions, separable: bool, style: Style) -> keras.Model:
    """Return a net from the features of ROIs `[R, 7, 7, channels]` to class logits and box deltas.

    Its outputs are `{"class_logits": [R, outputs], "box_deltas": [R, outputs * 4]}`; the deltas are class-major.
    """
    crops = keras.Input((BOX_CROP, BOX_CROP, channels), name="box_features")
    x = _convs(crops, options.box_depth, options.box_width, separable, style, "box")
    x = keras.layers.Flatten(name="box_flatten")(x)
    for index in range(options.fc_depth):
        scaled = keras.initializers.VarianceScaling(1 / 3, "fan_out", "uniform")
        x = _dense(x, options.fc_width, scaled, style, f"box_fc{index}")
        x = style.act(style.norm(x, name=f"box_fc{index}_bn"), name=f"box_fc{index}_act")
    normal = keras.initializers.RandomNormal
    predicted = {
        "class_logits": _dense(x, outputs, normal(stddev=0.01), style, CLASS_PREDICTOR),
        "box_deltas": _dense(x, 4 * outputs, normal(stddev=0.001), style, DELTA_PREDICTOR),
    }
    return _repeated(Repeated(crops, predicted, name=BOX_HEAD), options.proposals)


def mask_head(channels: int, outputs: int, options: MaskRCNNOptions, separable: bool, style: Style) -> keras.Model:
    """Return a net from the features of ROIs `[R, 14, 14, channels]` to mask logits `[R, 28, 28, outputs]`."""
    crops = keras.Input((MASK_CROP, MASK_CROP, channels), name="mask_features")
    x = _convs(crops, options.mask_depth, options.mask_width, separable, style, "mask")
    settings: dict[str, Any] = {"kernel_initializer": _scaled_by_outputs(), "kernel_regularizer": style.regularizer}
    x = keras.layers.Conv2DTranspose(options.mask_width, 2, 2, name="mask_upsample", **settings)(x)
    x = style.act(style.norm(x, name="mask_upsample_bn"), name="mask_upsample_act")
    settings["kernel_initializer"] = _scaled_by_outputs()
    logits = keras.layers.Conv2D(outputs, 1, name=MASK_PREDICTOR, **settings)(x)
    return _repeated(Repeated(crops, logits, name=MASK_HEAD), options.max_detections)


def _repeated(head: Repeated, per_image: int) -> Repeated:
    """Note how many ROIs of an image the head reads, for its costs."""
    head.per_image = per_image
    return head


def _convs(x, depth: int, width: int, separable: bool, style: Style, name: str):
    """Apply 3x3 convs with biases, each followed by BN and the activation."""
    for index in range(depth):
        x = _conv(width, separable, style, f"{name}_conv{index}")(x)
        x = style.act(style.norm(x, name=f"{name}_conv{index}_bn"), name=f"{name}_conv{index}_act")
    return x


def _conv(width: int, separable: bool, style: Style, name: str) -> keras.layers.Layer:
    settings: dict[str, Any] = {"padding": "same", "name": name}
    kernels = ("depthwise", "pointwise") if separable else ("kernel",)
    settings |= {f"{kernel}_initializer": _scaled_by_outputs() for kernel in kernels}
    settings |= {f"{kernel}_regularizer": style.regularizer for kernel in kernels}
    return (keras.layers.SeparableConv2D if separable else keras.layers.Conv2D)(width, 3, **settings)


def _dense(x, units: int, initializer: keras.Initializer, style: Style, name: str):
    return keras.layers.Dense(units, kernel_initializer=initializer, kernel_regularizer=style.regularizer, name=name)(x)
