"""Towers of convs, which all levels of a pyramid share."""

from __future__ import annotations

import keras

from spinenet_tf.nets.style import Style


def tower(x, convs: list, style: Style, level: str):
    """Apply the shared convs to one level, each followed by that level's own BN and the activation."""
    for conv in convs:
        x = style.norm(conv(x), name=f"{conv.name}_{level}_bn")
        x = style.act(x, name=f"{conv.name}_{level}_act")
    return x


def make_conv(
    filters: int, style: Style, separable: bool, *, bias: float = 0.0, predicts: bool = False, name: str
) -> keras.layers.Layer:
    """Create a 3x3 conv of a tower, or with `predicts` the predictor after it, which has smaller initial weights."""
    make = _separable_conv if separable else _conv
    return make(filters, style, bias=bias, predicts=predicts, name=name)


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
    """Create a separable conv for mobile nets, which were published with L2 only on the predictors."""

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
