"""Cross-scale connections: resample a parent to the level and width of the block that reads it (paper, fig. 5)."""

from __future__ import annotations

from collections.abc import Mapping

import keras
from keras import ops

from spinenet_tf.nets.style import Style
from spinenet_tf.ops.levels import level_size


def resample(x, image, *, parent_level: int, level: int, channels: int, inner: int, style: Style, name: str):
    """Resample a parent at `parent_level` to `level` and `channels`; `inner` is alpha times the parent's channels.

    The expanding 1x1 conv runs before the upsampling, not after it as published: pointwise ops commute with the
    repetition of pixels, so the result is the same at 1 / scale^2 of the work. There is no activation at the end: the
    block activates the sum of its parents.
    """
    x = style.conv_bn_act(x, inner, 1, name=f"{name}_reduce")
    if level > parent_level:
        x = style.conv_bn_act(x, inner, 3, strides=2, name=f"{name}_down")
        x = _pool(x, image, parent_level, level, style, name)
    x = style.conv_bn(x, channels, 1, name=f"{name}_expand")
    return upsample(x, image, parent_level, level, style, name)


def _pool(x, image, parent_level: int, level: int, style: Style, name: str):
    if style.tf1_zoo:
        return ZooResample(parent_level, level, name=f"{name}_pool")([x, image])
    for step in range(level - parent_level - 1):
        x = keras.layers.MaxPooling2D(3, 2, padding="same", name=f"{name}_pool{step}")(x)
    return x


def resample_mobile(x, image, *, parent_level: int, level: int, channels: int, style: Style, name: str):
    """Resample a parent in a mobile net: a strided depthwise conv per octave down, and no reducing conv."""
    for step in range(level - parent_level):
        x = style.depthwise(x, strides=2, regularizer=style.regularizer, name=f"{name}_down{step}")
        x = style.act(style.norm(x, name=f"{name}_down{step}_bn"), name=f"{name}_down{step}_act")
    x = style.conv_bn(x, channels, 1, name=f"{name}_expand")
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
    layer = (
        ZooResample(parent_level, level, name=f"{name}_up")
        if style.tf1_zoo
        else NearestUpsample(level, name=f"{name}_up")
    )
    return layer([x, image])


@keras.saving.register_keras_serializable("spinenet_tf")
class NearestUpsample(keras.layers.Layer):
    """Upsample `x [B, h, w, C]` to the size of `level` of the image `[B, H, W, 3]`, by nearest neighbor.

    Takes `[x, image]`, returns `[B, ceil(H / 2^level), ceil(W / 2^level), C]`. At static integer ratios, inference is
    one resize op, which phones' delegates support, and training repeats pixels, whose gradient XLA can compile. All
    other sizes are gathered by exact integer indices, which are the same on all backends.

    While it traces a model, an exporter sets `upsampling` to "concat" instead of "resize", for engines that do not
    support the resize op: inference is then concatenations and depth-to-space, with the same result.
    """

    def __init__(self, level: int, **kwargs):
        super().__init__(**kwargs)
        self.level, self.upsampling = level, "resize"

    def call(self, inputs, training=None):
        x, image = inputs
        target = [level_size(size, self.level) for size in ops.shape(image)[1:3]]
        source = ops.shape(x)[1:3]
        is_static = all(isinstance(size, int) for size in (*source, *target))
        if is_static and all(size % side == 0 for size, side in zip(target, source, strict=True)):
            rows, columns = (size // side for size, side in zip(target, source, strict=True))
            if training:
                return _repeat(x, rows, columns)
            if self.upsampling == "concat" and rows == columns and rows.bit_count() == 1:
                return _double(x, octaves=rows.bit_length() - 1)
            return ops.image.resize(x, target, interpolation="nearest", data_format="channels_last")
        for axis, (size, side) in enumerate(zip(target, source, strict=True), start=1):
            x = ops.take(x, nearest_indices(side, size), axis=axis)
        return x

    def compute_output_shape(self, input_shape):
        x, image = input_shape
        return (x[0], level_size(image[1], self.level), level_size(image[2], self.level), x[-1])

    def get_config(self):
        return super().get_config() | {"level": self.level}


def nearest_indices(source, target):
    """Return the indices `[target]` int32 of the `source` pixels with the nearest centers, by integer arithmetic."""
    return ((2 * ops.arange(target, dtype="int32") + 1) * source) // (2 * target)


def _repeat(x, rows: int, columns: int):
    batch, height, width, channels = ops.shape(x)
    x = ops.broadcast_to(x[:, :, None, :, None], (batch, height, rows, width, columns, channels))
    return ops.reshape(x, (batch, height * rows, width * columns, channels))


def _double(x, octaves: int):
    """Repeat each pixel 2 x 2 times per octave; four copies at a time, because XNNPACK refuses more."""
    for _ in range(octaves):
        x = ops.depth_to_space(ops.concatenate([x] * 4, axis=-1), 2, data_format="channels_last")
    return x


@keras.saving.register_keras_serializable("spinenet_tf")
class ZooResample(keras.layers.Layer):
    """Resample `x [B, h, w, C]` of `parent_level` to the size of `level` as the TF1 zoo does.

    To downsample, a conv has already halved `x`, and one max-pooling does the rest: 3 x 3, or 5 x 5 if the sizes differ
    by a factor of more than 4. If the result has another size, and to upsample, pixels are picked by
    floor(index * source / target). Takes `[x, image]`; the image must have a static size.
    """

    def __init__(self, parent_level: int, level: int, **kwargs):
        super().__init__(**kwargs)
        self.parent_level, self.level = parent_level, level

    def call(self, inputs):
        x, image = inputs
        if None in image.shape[1:3]:
            raise ValueError(f"Nets with tf1_zoo=True need a static input size. Received: shape={image.shape}")
        source, target = (level_size(image.shape[2], level) for level in (self.parent_level, self.level))
        if source // target > 2:
            stride = source // target // 2 if source % target == 0 else 2
            x = ops.max_pool(x, 3 if source <= 4 * target else 5, stride, "same", data_format="channels_last")
        for axis in (1, 2):
            size, side = level_size(image.shape[axis], self.level), x.shape[axis]
            if size != side:
                x = ops.take(x, ops.arange(size, dtype="int32") * side // size, axis=axis)
        return x

    def get_config(self):
        return super().get_config() | {"parent_level": self.parent_level, "level": self.level}
