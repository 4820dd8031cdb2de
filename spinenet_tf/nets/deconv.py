"""Upsampling after a ResNet: a 3x3 conv and a transposed conv per octave (Zhou 2019, ResNet-18).

The published net has deformable convs instead of the 3x3 convs; TFLite cannot run these.
"""

from __future__ import annotations

import keras
from keras import ops

from spinenet_tf.nets.style import Style
from spinenet_tf.ops.levels import level_size

TOP = 2  # the level of the output


def deconv(x, image, *, level: int, style: Style) -> dict:
    """Upsample a map at `level` to `{2: [B, H / 4, W / 4, endpoint]}`; the width halves with each octave."""
    for target in range(level - 1, TOP - 1, -1):
        channels, name = style.endpoint * 2 ** (target - TOP), f"deconv_P{target}"
        x = style.conv_bn_act(x, channels, 3, name=f"{name}_conv")
        x = style.norm(_doubled(x, channels, style, name=f"{name}_up"), name=f"{name}_up_bn")
        x = CropToLevel(target, name=f"{name}_crop")([style.act(x, name=f"{name}_up_act"), image])
    return {TOP: x}


def _doubled(x, channels: int, style: Style, *, name: str):
    return keras.layers.Conv2DTranspose(
        channels,
        4,
        2,
        padding="same",
        use_bias=False,
        kernel_initializer=keras.initializers.VarianceScaling(),
        kernel_regularizer=style.regularizer,
        name=name,
    )(x)


@keras.saving.register_keras_serializable("spinenet_tf")
class CropToLevel(keras.layers.Layer):
    """Crop `x [B, h, w, C]` to the size of `level` of the image `[B, H, W, 3]`.

    Doubling a side that was rounded up may exceed that size. Takes `[x, image]`, returns
    `[B, ceil(H / 2^level), ceil(W / 2^level), C]`.
    """

    def __init__(self, level: int, **kwargs):
        super().__init__(**kwargs)
        self.level = level

    def call(self, inputs):
        x, image = inputs
        height, width = (level_size(size, self.level) for size in ops.shape(image)[1:3])
        return x if (height, width) == tuple(ops.shape(x)[1:3]) else x[:, :height, :width]

    def compute_output_shape(self, input_shape):
        x, image = input_shape
        return (x[0], level_size(image[1], self.level), level_size(image[2], self.level), x[-1])

    def get_config(self):
        return super().get_config() | {"level": self.level}
