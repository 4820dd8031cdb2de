"""The blocks of the paper: conv + BN + activation, bottleneck, residual, MBConv, and what they share.

Each function takes a symbolic tensor `[B, H, W, C]` and adds named Keras layers to the graph; `Style` makes these
layers.
"""

from __future__ import annotations

from dataclasses import dataclass

import keras
from keras import ops

from spinenet_tf._fast.normalization import BatchNorm
from spinenet_tf._fast.regularization import L2

ACTIVATIONS = ("relu", "relu6", "swish", "hard_swish", "gelu")
SE_GATES = ("hard_sigmoid", "sigmoid")
EXPANSION = 4  # a bottleneck emits 4C channels
MBCONV_EXPANSION = 6


@dataclass(frozen=True)
class Style:
    """How one network makes its convs, norms and activations.

    `l2` is the paper's weight decay: it adds `l2 / 2 * |w|^2` to the loss for each regularized kernel.
    `se_ratio` is relative to a block's un-expanded width; 0 leaves squeeze-and-excitation out. `tf1_zoo` computes what
    the authors' first code does, for weights that it trained: convs of stride 2 pad both sides alike, several octaves
    down are one max-pooling, and squeeze-and-excitation has swish inside.

    Raises:
        ValueError: a value is not among the valid ones, which the message lists.
    """

    activation: str = "relu"
    norm_momentum: float = 0.99
    norm_epsilon: float = 1e-3
    sync_bn: bool = False
    l2: float = 0.0
    se_ratio: float = 0.2
    se_gate: str = "hard_sigmoid"
    tf1_zoo: bool = False

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"Valid activations are {ACTIVATIONS}. Received: activation={self.activation!r}")
        if self.se_gate not in SE_GATES:
            raise ValueError(f"Valid SE gates are {SE_GATES}. Received: se_gate={self.se_gate!r}")
        if not 0.0 <= self.norm_momentum <= 1.0:
            raise ValueError(f"norm_momentum must lie in 0..1. Received: norm_momentum={self.norm_momentum}")
        for name in ("l2", "se_ratio", "norm_epsilon"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative. Received: {name}={getattr(self, name)}")

    @property
    def regularizer(self) -> keras.Regularizer | None:
        """L2 for a conv kernel; BN parameters and biases never have any."""
        return L2(self.l2 / 2) if self.l2 else None

    def conv(self, x, filters: int, kernel_size: int, *, strides: int = 1, use_bias: bool = False, name: str):
        """Apply a SAME conv, initialized by fan-in as published."""
        x, padding = self._pad(x, kernel_size, strides, name)
        return keras.layers.Conv2D(
            filters,
            kernel_size,
            strides,
            padding=padding,
            use_bias=use_bias,
            kernel_initializer=keras.initializers.VarianceScaling(),
            kernel_regularizer=self.regularizer,
            name=name,
        )(x)

    def depthwise(self, x, *, strides: int, regularizer: keras.Regularizer | None = None, name: str):
        """Apply a 3x3 depthwise SAME conv. Those of MBConv blocks are published without L2."""
        x, padding = self._pad(x, 3, strides, name)
        return keras.layers.DepthwiseConv2D(
            3,
            strides,
            padding=padding,
            use_bias=False,
            depthwise_initializer=keras.initializers.VarianceScaling(),
            depthwise_regularizer=regularizer,
            name=name,
        )(x)

    def _pad(self, x, kernel_size: int, strides: int, name: str):
        """Return the input of a conv and its padding: SAME puts more of it at the end where a stride skips pixels."""
        if not self.tf1_zoo or strides == 1 or kernel_size == 1:
            return x, "same"
        return keras.layers.ZeroPadding2D((kernel_size - 1) // 2, name=f"{name}_pad")(x), "valid"

    def norm(self, x, *, name: str):
        """Apply batch normalization."""
        return BatchNorm(momentum=self.norm_momentum, epsilon=self.norm_epsilon, synchronized=self.sync_bn, name=name)(
            x
        )

    def act(self, x, *, name: str):
        """Apply the network's activation."""
        return keras.layers.Activation(self.activation, name=name)(x)

    def conv_bn(self, x, filters: int, kernel_size: int, *, strides: int = 1, name: str):
        """Apply conv and BN."""
        return self.norm(self.conv(x, filters, kernel_size, strides=strides, name=name), name=f"{name}_bn")

    def conv_bn_act(self, x, filters: int, kernel_size: int, *, strides: int = 1, name: str):
        """Apply conv, BN and activation."""
        return self.act(self.conv_bn(x, filters, kernel_size, strides=strides, name=name), name=f"{name}_act")


@keras.saving.register_keras_serializable("spinenet_tf")
def published_hard_sigmoid(x):
    """Compute relu6(x + 3) * 0.16667: the published mobile nets were trained with that constant, not with 1 / 6."""
    return ops.relu6(x + 3.0) * 0.16667


def stochastic_depth(x, rate: float, *, name: str):
    """Drop the whole branch of a sample with probability `rate` in training, and scale what is kept (Huang 2016)."""
    if not rate:
        return x
    return keras.layers.Dropout(rate, noise_shape=(None, 1, 1, 1), name=name)(x)


def squeeze_excite(x, width: int, style: Style, *, name: str):
    """Scale the channels of `x` by a gate computed from their means; `width` is the squeezed one."""
    gate = keras.layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_mean")(x)
    gate = style.conv(gate, width, 1, use_bias=True, name=f"{name}_squeeze")
    gate = keras.layers.Activation("swish" if style.tf1_zoo else "relu", name=f"{name}_squeeze_act")(gate)
    gate = style.conv(gate, x.shape[-1], 1, use_bias=True, name=f"{name}_excite")
    function = published_hard_sigmoid if style.se_gate == "hard_sigmoid" else "sigmoid"
    gate = keras.layers.Activation(function, name=f"{name}_gate")(gate)
    return keras.layers.Multiply(name=f"{name}_scale")([x, gate])


def _shortcut(x, channels: int, strides: int, style: Style, *, name: str):
    """Project the input where its shape changes; pass it on as it is everywhere else."""
    if strides == 1 and x.shape[-1] == channels:
        return x
    return style.conv_bn(x, channels, 1, strides=strides, name=f"{name}_shortcut")


def _merge(x, shortcut, drop_rate: float, style: Style, *, name: str):
    x = stochastic_depth(x, drop_rate, name=f"{name}_drop")
    return style.act(keras.layers.Add(name=f"{name}_add")([x, shortcut]), name=f"{name}_out")


def bottleneck(
    x, width: int, style: Style, *, expansion: float = EXPANSION, strides: int = 1, drop_rate: float = 0.0, name: str
):
    """Apply 1x1, 3x3 and 1x1 convs and the shortcut; emit `expansion` * `width` channels."""
    channels = int(expansion * width)
    shortcut = _shortcut(x, channels, strides, style, name=name)
    x = style.conv_bn_act(x, width, 1, name=f"{name}_conv1")
    x = style.conv_bn_act(x, width, 3, strides=strides, name=f"{name}_conv2")
    x = style.conv_bn(x, channels, 1, name=f"{name}_conv3")
    return _merge(x, shortcut, drop_rate, style, name=name)


def residual(x, width: int, style: Style, *, strides: int = 1, drop_rate: float = 0.0, name: str):
    """Apply two 3x3 convs and the shortcut; emit `width` channels."""
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
    """Apply the inverted bottleneck of MobileNetV3; emit `width` channels, without an activation.

    Where the expansion is 1, there is no expanding conv, as in MobileNetV2.
    """
    inputs, channels = x, x.shape[-1]
    if expansion != 1:
        x = style.conv_bn_act(x, int(expansion * channels), 1, name=f"{name}_expand")
    x = style.norm(style.depthwise(x, strides=strides, name=f"{name}_depthwise"), name=f"{name}_depthwise_bn")
    x = style.act(x, name=f"{name}_depthwise_act")
    if style.se_ratio:
        x = squeeze_excite(x, max(1, int(style.se_ratio * channels)), style, name=f"{name}_se")
    x = style.conv_bn(x, width, 1, name=f"{name}_project")
    if strides != 1 or channels != width:
        return x
    return keras.layers.Add(name=f"{name}_add")([stochastic_depth(x, drop_rate, name=f"{name}_drop"), inputs])


BLOCKS = {"bottleneck": bottleneck, "residual": residual, "mbconv": mbconv}


def block_channels(kind: str, width: int, expansion: float | None = None) -> int:
    """Return the channels that a block of this kind takes and emits; None is the kind's own expansion."""
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
    """Apply a block `repeats` times in a row; only the first one strides. None is the kind's own expansion."""
    own: dict = {} if expansion is None else {"expansion": expansion}
    for repeat in range(repeats):
        block_name = name if repeats == 1 else f"{name}_repeat{repeat}"
        how = own | {"strides": 1 if repeat else strides}
        x = BLOCKS[kind](x, width, style, **how, drop_rate=drop_rate, name=block_name)
    return x
