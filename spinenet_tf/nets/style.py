"""How one net is scaled and what its layers are: the settings of a backbone, and the layers that follow from them."""

from __future__ import annotations

from dataclasses import dataclass

import keras

from spinenet_tf._fast.normalization import BatchNorm
from spinenet_tf._fast.regularization import L2
from spinenet_tf.nets.options import MAX_CHANNELS, Options, option

ACTIVATIONS = ("relu", "relu6", "swish", "hard_swish", "gelu")
SE_GATES = ("hard_sigmoid", "sigmoid")


@dataclass(frozen=True)
class Style(Options):
    """The settings of a backbone, and how it makes its convs, norms and activations; by default as SpineNet-49 does.

    The overrides of the factory and of a config are these fields.
    """

    min_level: int | None = option(None, 0, 10, of_weights=True)  # by default P3, or the first that the graph outputs
    max_level: int | None = option(None, 0, 10, of_weights=True)  # by default the last that the graph outputs
    width: float = option(1.0, above=0, high=64, of_weights=True)  # multiplies the width of every level
    alpha: float = option(0.5, above=0, high=64, of_weights=True)  # of a connection's inner convs, times the parent's
    repeats: int = option(1, 1, 100, of_weights=True)  # how often each block is chained
    endpoint: int = option(256, 1, MAX_CHANNELS, of_weights=True)  # channels of each output
    activation: str = option("relu", choices=ACTIVATIONS, of_weights=True)  # behind each conv and sum
    stochastic_depth: float = option(0.0, 0, below=1)  # drop rate of the last block; the others' grow linearly to it
    se_ratio: float = option(0.2, 0, 64, of_weights=True)  # of squeeze-and-excitation, times a block's own; 0: none
    se_gate: str = option("hard_sigmoid", choices=SE_GATES, of_weights=True)  # of squeeze-and-excitation
    norm_momentum: float = option(0.99, 0, 1)  # of the moving averages of batch normalization
    norm_epsilon: float = option(1e-3, 0, of_weights=True)  # added to its variance
    sync_bn: bool = option(False)  # whether its statistics are those of all devices together
    l2: float = option(0.0, 0)  # the paper's weight decay: the loss gets l2 / 2 times the sum of squares of each kernel
    # For weights of the authors' first code: convs of stride 2 pad both sides alike, several octaves down are one
    # max-pooling, and squeeze-and-excitation has swish inside.
    tf1_zoo: bool = option(False, of_weights=True)

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
