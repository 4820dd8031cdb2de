"""Cross-scale connections equal the published ones at any size, although their convs run in another order."""

from __future__ import annotations

from fractions import Fraction

import keras
import numpy as np
import pytest
from keras import ops

from spinenet_tf.nets.resample import NearestUpsample, ZooResample, resample, resample_mobile
from spinenet_tf.nets.style import Style
from spinenet_tf.ops.levels import level_size

STYLE = Style()


def _nearest(x: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the source pixel under the center of each target pixel, by exact fractions."""
    rows, columns = (
        [int(Fraction(2 * i + 1, 2) * side // size) for i in range(size)]
        for side, size in ((x.shape[1], height), (x.shape[2], width))
    )
    return x[:, rows][:, :, columns]


def _maps(height: int, width: int, channels: int, batch: int = 2) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(batch, height, width, channels)).astype("float32")


def _connection(parent_level: int, level: int, connect=resample, image_shape=(64, 96, 3), channels=8, **kwargs):
    image = keras.Input(image_shape)
    x = keras.Input((*(level_size(side, parent_level) for side in image_shape[:2]), 8))
    ends = {"parent_level": parent_level, "level": level, "channels": channels}
    return keras.Model([x, image], connect(x, image, **ends, style=STYLE, name="c", **kwargs))


def _kinds(model: keras.Model) -> list[str]:
    return [layer.name.removeprefix("c_") for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]


@pytest.mark.parametrize("side", [(64, 96), (100, 75), (84, 208), (33, 32)])
@pytest.mark.parametrize(("parent_level", "level"), [(5, 3), (7, 2), (4, 3)])
def test_upsampling_takes_the_nearest_pixels_at_any_size(side, parent_level, level):
    x = _maps(*(level_size(length, parent_level) for length in side), 3)
    expected = _nearest(x, *(level_size(length, level) for length in side))
    np.testing.assert_array_equal(NearestUpsample(parent_level, level)([x, _maps(*side, 3)]), expected)


@pytest.mark.parametrize("side", [(128, 256), (64, 96), (100, 75), (32, 128), (320, 416)])
@pytest.mark.parametrize(("parent_level", "level"), [(5, 3), (7, 2), (4, 3), (7, 6)])
@pytest.mark.parametrize("layer", [NearestUpsample, ZooResample])
def test_however_upsampling_is_written_it_is_the_same(layer, side, parent_level, level):
    x, image = _maps(*(level_size(length, parent_level) for length in side), 3), _maps(*side, 3)
    resampling = layer(parent_level, level)
    expected = resampling([x, image])
    is_resizable = all(resampling.is_resizable(length) for length in side)
    for resampling.upsampling in ("concat", *(["resize"] if is_resizable else [])):
        np.testing.assert_array_equal(resampling([x, image]), expected)
    np.testing.assert_array_equal(layer(parent_level, level)([x, image], training=True), expected)


@pytest.mark.parametrize("side", [(128, 256), (100, 75), (600, 450)])
@pytest.mark.parametrize(("parent_level", "level"), [(3, 6), (3, 7), (4, 5)])
def test_however_the_zoo_resampling_downwards_is_written_it_is_the_same(side, parent_level, level):
    x, image = _maps(*(level_size(length, parent_level + 1) for length in side), 3), _maps(*side, 3)
    resampling = ZooResample(parent_level, level)
    expected = resampling([x, image])
    assert expected.shape[1:3] == tuple(level_size(length, level) for length in side)
    for resampling.upsampling in ("concat", *(["resize"] if side == (128, 256) else [])):
        np.testing.assert_array_equal(resampling([x, image]), expected)


@pytest.mark.parametrize("side", [(64, 96), (100, 75)])
def test_unknown_sizes_give_what_known_ones_give(side):
    x, image = keras.Input((None, None, 3)), keras.Input((None, None, 3))
    model = keras.Model([x, image], NearestUpsample(5, 3)([x, image]))
    assert model.output_shape == (None, None, None, 3)
    maps = _maps(*(level_size(length, 5) for length in side), 3)
    expected = _nearest(maps, *(level_size(length, 3) for length in side))
    np.testing.assert_array_equal(model.predict([maps, _maps(*side, 3)], verbose=0), expected)


def test_upsampling_survives_its_config():
    layer = NearestUpsample(5, 4, name="up")
    copy = keras.layers.deserialize(keras.layers.serialize(layer))
    assert (type(copy), copy.parent_level, copy.level, copy.name) == (NearestUpsample, 5, 4, "up")


@pytest.mark.parametrize(
    ("parent_level", "level", "expected"),
    [
        (3, 3, "reduce reduce_bn reduce_act expand expand_bn"),
        (3, 4, "reduce reduce_bn reduce_act down down_bn down_act expand expand_bn"),
        (3, 6, "reduce reduce_bn reduce_act down down_bn down_act pool0 pool1 expand expand_bn"),
        (6, 3, "reduce reduce_bn reduce_act expand expand_bn up"),
    ],
)
def test_a_connection_has_the_published_parts_and_no_last_activation(parent_level, level, expected):
    model = _connection(parent_level, level, inner=4)
    assert _kinds(model) == expected.split()
    assert model.output_shape == (None, level_size(64, level), level_size(96, level), 8)


@pytest.mark.parametrize(
    ("parent_level", "level", "expected"),
    [
        (3, 3, "expand expand_bn"),
        (3, 5, "down0 down0_bn down0_act down1 down1_bn down1_act expand expand_bn"),
        (6, 3, "expand expand_bn up"),
    ],
)
def test_a_mobile_connection_strides_by_depthwise_convs_and_reduces_nothing(parent_level, level, expected):
    assert _kinds(_connection(parent_level, level, resample_mobile)) == expected.split()


def _conv1x1_bn(x: np.ndarray, model: keras.Model, name: str) -> np.ndarray:
    norm = model.get_layer(f"{name}_bn")
    gamma, beta, mean, variance = (np.array(weight.value) for weight in norm.weights)
    y = x @ np.array(model.get_layer(name).kernel.value)[0, 0]
    return (y - mean) / np.sqrt(variance + norm.epsilon) * gamma + beta


@pytest.mark.parametrize("image_shape", [(64, 96, 3), (100, 75, 3)])
def test_a_connection_upwards_computes_the_published_formula(image_shape, randomize):
    model = randomize(_connection(5, 3, image_shape=image_shape, inner=4))
    x = _maps(*(level_size(side, 5) for side in image_shape[:2]), 8)
    inner = np.maximum(_conv1x1_bn(x, model, "c_reduce"), 0.0)
    published = _conv1x1_bn(_nearest(inner, *(level_size(side, 3) for side in image_shape[:2])), model, "c_expand")
    np.testing.assert_allclose(model([x, _maps(*image_shape[:2], 3)]), published, atol=1e-5)


def _published_order(image_shape) -> keras.Model:
    image = keras.Input(image_shape)
    x = keras.Input((*(level_size(side, 5) for side in image_shape[:2]), 8))
    inner = STYLE.conv_bn_act(x, 4, 1, name="c_reduce")
    enlarged = NearestUpsample(5, 3, name="c_up")([inner, image])
    return keras.Model([x, image], STYLE.conv_bn(enlarged, 8, 1, name="c_expand"))


def test_expanding_before_upsampling_trains_as_the_published_order_does(randomize):
    ours, published = _connection(5, 3, image_shape=(64, 96, 3), inner=4), _published_order((64, 96, 3))
    published.set_weights(randomize(ours).get_weights())
    inputs = [_maps(2, 3, 8, batch=4), _maps(64, 96, 3, batch=4)]
    np.testing.assert_allclose(ours(inputs, training=True), published(inputs, training=True), atol=1e-4)
    for mine, theirs in zip(ours.weights, published.weights, strict=True):
        np.testing.assert_allclose(ops.convert_to_numpy(mine), ops.convert_to_numpy(theirs), atol=1e-5)


def test_max_pooling_takes_the_rest_of_the_way_down(randomize):
    near, far = randomize(_connection(2, 3, inner=4)), randomize(_connection(2, 4, inner=4))
    inputs = [_maps(16, 24, 8), _maps(64, 96, 3)]
    before = keras.Model(near.inputs, near.get_layer("c_down_act").output)(inputs)
    after = keras.Model(far.inputs, far.get_layer("c_pool0").output)(inputs)
    padded = np.pad(before, ((0, 0), (0, 1), (0, 1), (0, 0)), constant_values=-np.inf)
    windows = [padded[:, row : row + 8 : 2, column : column + 12 : 2] for row in range(3) for column in range(3)]
    np.testing.assert_allclose(after, np.max(windows, axis=0), atol=1e-6)
