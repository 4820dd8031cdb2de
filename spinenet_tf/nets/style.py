"""The settings of a backbone (scaling, activation, normalization), and the layers that it builds with them."""

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
    """The settings of a backbone, which builds its convs, norms and activations; the defaults are SpineNet-49's.

    The overrides of the factory and of a config are these fields.
    """

    min_level: int | None = option(None, 0, 10, of_weights=True)  # finest output; default: P3, or the graph's finest
    max_level: int | None = option(None, 0, 10, of_weights=True)  # coarsest output; default: the graph's coarsest
    width: float = option(1.0, above=0, high=64, of_weights=True)  # multiplies the channels of every level
    alpha: float = option(0.5, above=0, high=64, of_weights=True)  # channels inside a connection / those of its parent
    repeats: int = option(1, 1, 100, of_weights=True)  # how often each block is repeated
    endpoint: int = option(256, 1, MAX_CHANNELS, of_weights=True)  # channels of each output
    activation: str = option("relu", choices=ACTIVATIONS, of_weights=True)  # after each conv and sum
    stochastic_depth: float = option(0.0, 0, below=1)  # drop rate of the last block; it rises linearly from the first
    se_ratio: float = option(0.2, 0, 64, of_weights=True)  # squeezed channels / input channels of a block; 0: no SE
    se_gate: str = option("hard_sigmoid", choices=SE_GATES, of_weights=True)  # function of the SE gate
    norm_momentum: float = option(0.99, 0, 1)  # momentum of the moving averages of batch normalization
    norm_epsilon: float = option(1e-3, 0, of_weights=True)  # added to the variance in batch normalization
    sync_bn: bool = option(False)  # compute the statistics of batch normalization over all devices
    l2: float = option(0.0, 0)  # weight decay as in the paper: l2 / 2 times the sum of squares of each kernel
    # Compute as the authors' TensorFlow 1 code, for its weights: convs of stride 2 pad both sides equally, one
    # max-pooling covers several octaves, and squeeze-and-excitation uses swish.
    tf1_zoo: bool = option(False, of_weights=True)

    @property
    def regularizer(self) -> keras.Regularizer | None:
        """The L2 penalty of a conv kernel; BN parameters and biases have none."""
        return L2(self.l2 / 2) if self.l2 else None

    def conv(self, x, filters: int, kernel_size: int, *, strides: int = 1, use_bias: bool = False, name: str):
        """Apply a conv with SAME padding, initialized by fan-in as published."""
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
        """Apply a 3x3 depthwise conv with SAME padding. The published MBConv blocks have no L2 on it."""
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
        """Return a conv's input, padded for `tf1_zoo`, and its padding mode: strided SAME pads more at the end."""
        if not self.tf1_zoo or strides == 1 or kernel_size == 1:
            return x, "same"
        return keras.layers.ZeroPadding2D((kernel_size - 1) // 2, name=f"{name}_pad")(x), "valid"

    def norm(self, x, *, name: str):
        """Apply batch normalization."""
        return BatchNorm(momentum=self.norm_momentum, epsilon=self.norm_epsilon, synchronized=self.sync_bn, name=name)(
            x
        )

    def act(self, x, *, name: str):
        """Apply the activation."""
        return keras.layers.Activation(self.activation, name=name)(x)

    def conv_bn(self, x, filters: int, kernel_size: int, *, strides: int = 1, name: str):
        """Apply a conv and BN."""
        return self.norm(self.conv(x, filters, kernel_size, strides=strides, name=name), name=f"{name}_bn")

    def conv_bn_act(self, x, filters: int, kernel_size: int, *, strides: int = 1, name: str):
        """Apply a conv, BN and the activation."""
        return self.act(self.conv_bn(x, filters, kernel_size, strides=strides, name=name), name=f"{name}_act")
