"""Heads on the pyramid: image classification (paper, section 3.3) and RetinaNet (Lin 2017)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import keras

from spinenet_tf._fast.variables import named_alike
from spinenet_tf.nets.blocks import Style
from spinenet_tf.nets.resample import upsample

PRIOR = 0.01  # probability of a foreground class that the class predictor starts with


@named_alike()
def classification_head(features: Mapping, image, num_classes: int, style: Style):
    """Return logits `[B, num_classes]`: the levels averaged at P3's size, pooled, and classified by one dense layer.

    Each level from the coarsest on is enlarged to the next finer one and added to it.
    """
    levels = sorted(int(name[1:]) for name in features)
    x = features[f"P{levels[-1]}"]
    for level in reversed(levels[:-1]):
        enlarged = upsample(x, image, level + 1, level, style, name=f"head_P{level}")
        x = keras.layers.Add(name=f"head_P{level}_add")([features[f"P{level}"], enlarged])
    x = keras.layers.Rescaling(1.0 / len(levels), name="head_mean")(x)
    x = keras.layers.GlobalAveragePooling2D(name="head_pool")(x)
    return keras.layers.Dense(num_classes, kernel_regularizer=style.regularizer, dtype="float32", name="head_logits")(x)


@named_alike()
def retinanet_head(
    features: Mapping,
    num_classes: int,
    anchors_per_location: int,
    depth: int,
    width: int,
    separable: bool,
    style: Style,
) -> dict[str, dict]:
    """Return `{"class_logits": {"P3": [B, h, w, A * num_classes], ...}, "box_deltas": {"P3": [B, h, w, A * 4], ...}}`.

    Channels are anchor-major. Convs are shared over the levels, each level and conv has its own BN.
    """
    make = _separable_conv if separable else _conv
    class_bias = -math.log((1.0 - PRIOR) / PRIOR)
    towers = {"class_logits": ("class", num_classes, class_bias), "box_deltas": ("box", 4, 0.0)}
    outputs = {}
    for output, (name, values, bias) in towers.items():
        convs = [make(width, style, name=f"{name}_conv{index}") for index in range(depth)]
        predictor = make(anchors_per_location * values, style, bias=bias, predicts=True, name=f"{name}_predictor")
        outputs[output] = {level: predictor(_tower(x, convs, style, level)) for level, x in features.items()}
    return outputs


def _tower(x, convs: list, style: Style, level: str):
    for conv in convs:
        x = style.norm(conv(x), name=f"{conv.name}_{level}_bn")
        x = style.act(x, name=f"{conv.name}_{level}_act")
    return x


def _conv(filters: int, style: Style, *, bias: float = 0.0, predicts: bool = False, name: str):
    return keras.layers.Conv2D(
        filters,
        3,
        padding="same",
        kernel_initializer=keras.initializers.RandomNormal(stddev=1e-5 if predicts else 0.01),
        bias_initializer=keras.initializers.Constant(bias),
        kernel_regularizer=style.regularizer,
        name=name,
    )


def _separable_conv(filters: int, style: Style, *, bias: float = 0.0, predicts: bool = False, name: str):
    """Make a mobile head's conv: published with L2 on the predictors only."""

    def initializer() -> keras.Initializer:
        return keras.initializers.RandomNormal(stddev=0.03) if predicts else keras.initializers.GlorotUniform()

    return keras.layers.SeparableConv2D(
        filters,
        3,
        padding="same",
        depthwise_initializer=initializer(),
        pointwise_initializer=initializer(),
        bias_initializer=keras.initializers.Constant(bias),
        depthwise_regularizer=style.regularizer if predicts else None,
        pointwise_regularizer=style.regularizer if predicts else None,
        name=name,
    )
