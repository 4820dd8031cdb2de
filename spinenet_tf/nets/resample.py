"""Cross-scale connections: resample a parent to the level and width of the block that reads it (paper, fig. 5)."""

from __future__ import annotations

from collections.abc import Mapping

import keras
from keras import ops

from spinenet_tf.nets.nearest import nearest, pick, resize_is_exact, scaled
from spinenet_tf.nets.style import Style
from spinenet_tf.ops.levels import level_size


def resample(
    x,
    image,
    *,
    parent_level: int,
    level: int,
    channels: int,
    inner: int,
    style: Style,
    name: str,
    act: str | None = None,
):
    """Resample a parent at `parent_level` to `level` and `channels`; `inner` is alpha times the parent's channels.

    There is no activation at the end, because the block activates the sum of its parents. The only parent of a block is
    activated here: `act` is the name of the layer.
    """
    x = style.conv_bn_act(x, inner, 1, name=f"{name}_reduce")
    if level > parent_level:
        x = style.conv_bn_act(x, inner, 3, strides=2, name=f"{name}_down")
        x = _pool(x, image, parent_level, level, style, name)
    return _expand(x, image, parent_level, level, channels, style, name, act)


def _pool(x, image, parent_level: int, level: int, style: Style, name: str):
    if style.tf1_zoo:
        return ZooResample(parent_level, level, name=f"{name}_pool")([x, image])
    for step in range(level - parent_level - 1):
        x = keras.layers.MaxPooling2D(3, 2, padding="same", name=f"{name}_pool{step}")(x)
    return x


def resample_mobile(
    x, image, *, parent_level: int, level: int, channels: int, style: Style, name: str, act: str | None = None
):
    """Resample a parent in a mobile net: a strided depthwise conv per octave down, and no reducing conv."""
    for step in range(level - parent_level):
        x = style.depthwise(x, strides=2, regularizer=style.regularizer, name=f"{name}_down{step}")
        x = style.act(style.norm(x, name=f"{name}_down{step}_bn"), name=f"{name}_down{step}_act")
    return _expand(x, image, parent_level, level, channels, style, name, act)


def _expand(x, image, parent_level: int, level: int, channels: int, style: Style, name: str, act: str | None):
    """Apply the last conv before the upsampling, not after it as published, and the activation, if any.

    Pointwise operations commute with the repetition of pixels: the result is the same at 1 / scale^2 of the work. And
    TFLite fuses an activation into a conv, but not into an upsampling; XNNPACK runs no separate one in 8 bits.
    """
    x = style.conv_bn(x, channels, 1, name=f"{name}_expand")
    x = style.act(x, name=act) if act else x
    return upsample(x, image, parent_level, level, style, name)


def fuse(features: Mapping, image, style: Style, name: str):
    """Return the mean of the levels `{"P3": ..., "P7": ...}` at the size of the finest.

    From the coarsest level on, each sum is upsampled and added to the next finer level.
    """
    levels = sorted(int(level[1:]) for level in features)
    x = features[f"P{levels[-1]}"]
    if len(levels) == 1:
        return x
    for level in reversed(levels[:-1]):
        enlarged = upsample(x, image, level + 1, level, style, name=f"{name}_P{level}")
        x = keras.layers.Add(name=f"{name}_P{level}_add")([features[f"P{level}"], enlarged])
    return keras.layers.Rescaling(1.0 / len(levels), name=f"{name}_mean")(x)


def upsample(x, image, parent_level: int, level: int, style: Style, name: str):
    """Upsample a map to the size of a finer `level`; return it unchanged if `level` is not finer."""
    if level >= parent_level:
        return x
    layer = ZooResample if style.tf1_zoo else NearestUpsample
    return layer(parent_level, level, name=f"{name}_up")([x, image])


class Resampling(keras.layers.Layer):
    """Resample `x [B, h, w, C]` of `parent_level` to the size of `level` of the image `[B, H, W, 3]`.

    Takes `[x, image]`, returns `[B, ceil(H / 2^level), ceil(W / 2^level), C]`. While it traces a model, an exporter
    sets `upsampling`, which does not change the result: see `nearest.pick`.
    """

    def __init__(self, parent_level: int, level: int, **kwargs):
        super().__init__(**kwargs)
        self.parent_level, self.level, self.upsampling = parent_level, level, "gather"

    def is_resizable(self, side: int) -> bool:
        """Return whether `upsampling="resize"` is possible for an image side of `side` px."""
        raise NotImplementedError

    def _sizes(self, image) -> list:
        return [level_size(side, self.level) for side in ops.shape(image)[1:3]]

    def get_config(self):
        return super().get_config() | {"parent_level": self.parent_level, "level": self.level}


@keras.saving.register_keras_serializable("spinenet_tf")
class NearestUpsample(Resampling):
    """Upsample `x` by nearest neighbor, by exact integer indices, which are the same on all backends and engines."""

    def call(self, inputs, training=None):
        x, image = inputs
        return pick(x, self._sizes(image), nearest, self.upsampling, training)

    def is_resizable(self, side):
        return resize_is_exact(level_size(side, self.parent_level), level_size(side, self.level))

    def compute_output_shape(self, input_shape):
        x, image = input_shape
        return (x[0], level_size(image[1], self.level), level_size(image[2], self.level), x[-1])


@keras.saving.register_keras_serializable("spinenet_tf")
class ZooResample(Resampling):
    """Resample `x` as the TF1 zoo does; the image must have a static size.

    To downsample, a conv has already halved `x`, and one max-pooling does the rest: 3 x 3, or 5 x 5 if the sizes differ
    by a factor of more than 4. If the result has another size, and to upsample, pixels are picked by
    floor(index * source / target).
    """

    def call(self, inputs, training=None):
        x, image = inputs
        if None in image.shape[1:3]:
            raise ValueError(f"Nets with tf1_zoo=True need a static input size. Received: shape={image.shape}")
        source, target = (level_size(image.shape[2], level) for level in (self.parent_level, self.level))
        if source // target > 2:
            stride = source // target // 2 if source % target == 0 else 2
            x = ops.max_pool(x, 3 if source <= 4 * target else 5, stride, "same", data_format="channels_last")
        return pick(x, self._sizes(image), scaled, self.upsampling, training)

    def is_resizable(self, side):
        return side % 2 ** max(self.parent_level, self.level) == 0
