"""The blocks of the paper: bottleneck, residual and MBConv; and the fused MBConv of later mobile networks.

Each function takes a symbolic tensor `[B, H, W, C]` and adds named Keras layers to the graph, created by `Style`.
"""

from __future__ import annotations

import keras
from keras import ops

from spinenet_tf.nets.style import Style

EXPANSION = 4  # a bottleneck of width C outputs 4C channels
MBCONV_EXPANSION = 6
FUSED_MBCONV_EXPANSION = 4  # as in MobileNetV4-Conv-M and EfficientNetV2; MobileDet has 4 and 8


@keras.saving.register_keras_serializable("spinenet_tf")
def published_hard_sigmoid(x):
    """Compute relu6(x + 3) * 0.16667: the published mobile nets were trained with this constant, not with 1 / 6."""
    return ops.relu6(x + 3.0) * 0.16667


def stochastic_depth(x, rate: float, *, name: str):
    """Drop the branch of a sample with probability `rate` in training, and scale the others up (Huang 2016)."""
    if not rate:
        return x
    return keras.layers.Dropout(rate, noise_shape=(None, 1, 1, 1), name=name)(x)


def squeeze_excite(x, width: int, style: Style, *, name: str):
    """Scale the channels of `x` by a gate computed from their means; `width` is the number of squeezed channels."""
    gate = keras.layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_mean")(x)
    gate = style.conv(gate, width, 1, use_bias=True, name=f"{name}_squeeze")
    gate = keras.layers.Activation("swish" if style.tf1_zoo else "relu", name=f"{name}_squeeze_act")(gate)
    gate = style.conv(gate, x.shape[-1], 1, use_bias=True, name=f"{name}_excite")
    function = published_hard_sigmoid if style.se_gate == "hard_sigmoid" else "sigmoid"
    gate = keras.layers.Activation(function, name=f"{name}_gate")(gate)
    return keras.layers.Multiply(name=f"{name}_scale")([x, gate])


def _shortcut(x, channels: int, strides: int, style: Style, *, name: str):
    """Project the input if the block changes its shape; otherwise return it unchanged."""
    if strides == 1 and x.shape[-1] == channels:
        return x
    return style.conv_bn(x, channels, 1, strides=strides, name=f"{name}_shortcut")


def _merge(x, shortcut, drop_rate: float, style: Style, *, name: str):
    x = stochastic_depth(x, drop_rate, name=f"{name}_drop")
    return style.act(keras.layers.Add(name=f"{name}_add")([x, shortcut]), name=f"{name}_out")


def bottleneck(
    x, width: int, style: Style, *, expansion: float = EXPANSION, strides: int = 1, drop_rate: float = 0.0, name: str
):
    """Apply 1x1, 3x3 and 1x1 convs and the shortcut; output `expansion` * `width` channels."""
    channels = int(expansion * width)
    shortcut = _shortcut(x, channels, strides, style, name=name)
    x = style.conv_bn_act(x, width, 1, name=f"{name}_conv1")
    x = style.conv_bn_act(x, width, 3, strides=strides, name=f"{name}_conv2")
    x = style.conv_bn(x, channels, 1, name=f"{name}_conv3")
    return _merge(x, shortcut, drop_rate, style, name=name)


def residual(x, width: int, style: Style, *, strides: int = 1, drop_rate: float = 0.0, name: str):
    """Apply two 3x3 convs and the shortcut; output `width` channels."""
    shortcut = _shortcut(x, width, strides, style, name=name)
    x = style.conv_bn_act(x, width, 3, strides=strides, name=f"{name}_conv1")
    x = style.conv_bn(x, width, 3, name=f"{name}_conv2")
    return _merge(x, shortcut, drop_rate, style, name=name)


def mbconv(
    x,
    width: int,
    style: Style,
    *,
    expansion: float = MBCONV_EXPANSION,
    strides: int = 1,
    drop_rate: float = 0.0,
    name: str,
):
    """Apply the inverted bottleneck of MobileNetV3; output `width` channels, without an activation.

    With an expansion of 1, there is no expanding conv, as in MobileNetV2.
    """
    inputs = x
    if expansion != 1:
        x = style.conv_bn_act(x, int(expansion * x.shape[-1]), 1, name=f"{name}_expand")
    x = style.norm(style.depthwise(x, strides=strides, name=f"{name}_depthwise"), name=f"{name}_depthwise_bn")
    x = style.act(x, name=f"{name}_depthwise_act")
    return _project(x, inputs, width, style, strides=strides, drop_rate=drop_rate, name=name)


def fused_mbconv(
    x,
    width: int,
    style: Style,
    *,
    expansion: float = FUSED_MBCONV_EXPANSION,
    strides: int = 1,
    drop_rate: float = 0.0,
    name: str,
):
    """Apply an inverted bottleneck with one 3x3 conv in place of the expanding and the depthwise conv.

    It computes more than `mbconv`, but full convs use the units of many processors better than depthwise ones.
    Squeeze-and-excitation is that of `mbconv`: EfficientNetV2 (arXiv 2104.00298, figure 2) draws it in both blocks, and
    in MobileDet's code it is an option of both; with `se_ratio=0` the block is MobileDet's and MobileNetV4's. The 3x3
    conv is not depthwise, so it has an L2 penalty. An expansion of 1 keeps both convs.
    """
    inputs = x
    x = style.conv_bn_act(x, int(expansion * x.shape[-1]), 3, strides=strides, name=f"{name}_expand")
    return _project(x, inputs, width, style, strides=strides, drop_rate=drop_rate, name=name)


def _project(x, inputs, width: int, style: Style, *, strides: int, drop_rate: float, name: str):
    """Apply the end of an inverted bottleneck; add the `inputs` of the block where shapes match."""
    channels = inputs.shape[-1]
    if style.se_ratio:
        x = squeeze_excite(x, max(1, int(style.se_ratio * channels)), style, name=f"{name}_se")
    x = style.conv_bn(x, width, 1, name=f"{name}_project")
    if strides != 1 or channels != width:
        return x
    return keras.layers.Add(name=f"{name}_add")([stochastic_depth(x, drop_rate, name=f"{name}_drop"), inputs])


BLOCKS = {"bottleneck": bottleneck, "residual": residual, "mbconv": mbconv, "fused_mbconv": fused_mbconv}
# By kind, if a block does not state its own.
EXPANSIONS = {"bottleneck": EXPANSION, "mbconv": MBCONV_EXPANSION, "fused_mbconv": FUSED_MBCONV_EXPANSION}


def block_channels(kind: str, width: int, expansion: float | None = None) -> int:
    """Return the input and output channels of a block of this kind; an `expansion` of None is the kind's default."""
    return int((expansion or EXPANSION) * width) if kind == "bottleneck" else width


def chain(
    kind: str,
    x,
    width: int,
    style: Style,
    *,
    repeats: int,
    expansion: float | None = None,
    strides: int = 1,
    drop_rate: float = 0.0,
    name: str,
):
    """Apply a block `repeats` times; only the first has `strides`. An `expansion` of None is the kind's default."""
    own: dict = {} if expansion is None else {"expansion": expansion}
    for repeat in range(repeats):
        block_name = name if repeats == 1 else f"{name}_repeat{repeat}"
        how = own | {"strides": 1 if repeat else strides}
        x = BLOCKS[kind](x, width, style, **how, drop_rate=drop_rate, name=block_name)
    return x
