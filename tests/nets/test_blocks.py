"""Each block computes its formula, with shortcuts, projections and L2 penalties exactly as in the paper."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from spinenet_tf.nets.blocks import (
    block_channels,
    bottleneck,
    chain,
    fused_mbconv,
    mbconv,
    published_hard_sigmoid,
    residual,
    squeeze_excite,
    stochastic_depth,
)
from spinenet_tf.nets.costs import count_params, multiply_adds
from spinenet_tf.nets.style import Style


def _model(block, channels: int, *args, **kwargs) -> keras.Model:
    x = keras.Input((8, 8, channels))
    return keras.Model(x, block(x, *args, **kwargs, name="block"))


def _names(model) -> list[str]:
    return [layer.name for layer in model.layers[1:]]


def test_l2_is_half_the_weight_decay_times_the_squared_kernel(randomize):
    model = randomize(_model(bottleneck, 8, 2, Style(l2=0.1)))
    kernels = [weight for weight in model.weights if weight.name == "kernel"]
    expected = sum(0.05 * float(ops.sum(kernel**2)) for kernel in kernels)
    assert len(model.losses) == len(kernels) == 3
    np.testing.assert_allclose(float(sum(model.losses)), expected, rtol=1e-5)


@pytest.mark.parametrize("block", [mbconv, fused_mbconv])
def test_mbconv_is_regularized_all_but_its_depthwise_conv(block):
    model = _model(block, 8, 8, Style(l2=0.1))
    penalized = {layer.name for layer in model.layers if layer.losses}
    assert penalized == {"block_expand", "block_se_squeeze", "block_se_excite", "block_project"}


@pytest.mark.parametrize(
    ("block", "width", "emitted"),
    [(bottleneck, 4, 16), (residual, 4, 4), (mbconv, 4, 4), (fused_mbconv, 4, 4)],
    ids=lambda v: str(v),
)
@pytest.mark.parametrize("strides", [1, 2])
def test_blocks_emit_their_channels_and_stride(block, width, emitted, strides):
    model = _model(block, emitted, width, Style(), strides=strides)
    assert model.output_shape == (None, 8 // strides, 8 // strides, emitted)
    assert block_channels(block.__name__, width) == emitted


@pytest.mark.parametrize(
    ("block", "channels", "strides", "has_projection"),
    [
        (bottleneck, 16, 1, False),
        (bottleneck, 8, 1, True),
        (bottleneck, 16, 2, True),
        (residual, 4, 1, False),
        (residual, 8, 1, True),
        (residual, 4, 2, True),
    ],
)
def test_a_shortcut_is_projected_only_where_shapes_change(block, channels, strides, has_projection):
    assert ("block_shortcut" in _names(_model(block, channels, 4, Style(), strides=strides))) == has_projection


@pytest.mark.parametrize("block", [mbconv, fused_mbconv])
@pytest.mark.parametrize(
    ("channels", "strides", "has_shortcut"), [(4, 1, True), (8, 1, False), (4, 2, False)], ids=lambda v: str(v)
)
def test_mbconv_adds_its_input_only_where_shapes_match(block, channels, strides, has_shortcut):
    names = _names(_model(block, channels, 4, Style(), strides=strides, drop_rate=0.5))
    assert ("block_add" in names) == ("block_drop" in names) == has_shortcut
    assert names[-1] == ("block_add" if has_shortcut else "block_project_bn"), "no activation at the end"


@pytest.mark.parametrize("block", [bottleneck, residual])
def test_without_its_branch_a_block_is_the_activation_of_its_input(block, randomize, images):
    model = randomize(_model(block, 4 if block is residual else 16, 4, Style()))
    last = model.get_layer("block_conv2_bn" if block is residual else "block_conv3_bn")
    last.gamma.assign(ops.zeros_like(last.gamma))
    last.beta.assign(ops.zeros_like(last.beta))
    x = np.random.default_rng(0).normal(size=(2, 8, 8, model.input_shape[-1])).astype("float32")
    last.moving_mean.assign(ops.zeros_like(last.moving_mean))
    np.testing.assert_allclose(model(x), np.maximum(x, 0.0), atol=1e-6)


@pytest.mark.parametrize(("channels", "squeezed"), [(8, 1), (16, 3), (24, 4), (40, 8), (80, 16), (112, 22), (4, 1)])
def test_the_squeeze_is_a_fifth_of_the_unexpanded_width(channels, squeezed):
    assert _model(mbconv, channels, channels, Style()).get_layer("block_se_squeeze").filters == squeezed


def _conv_bn(x: np.ndarray, model: keras.Model, name: str, strides: int = 1) -> np.ndarray:
    """Compute a conv with SAME padding and its BN in NumPy; the larger half of the padding is at the end."""
    kernel, norm = model.get_layer(name).kernel.numpy(), model.get_layer(f"{name}_bn")
    pads = [max((-(-side // strides) - 1) * strides + len(kernel) - side, 0) for side in x.shape[1:3]]
    x = np.pad(x, [(0, 0), *((pad // 2, pad - pad // 2) for pad in pads), (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], axis=(1, 2))[:, ::strides, ::strides]
    gamma, beta, mean, variance = (weight.numpy() for weight in norm.weights)
    return gamma * (np.einsum("bhwcij,ijcd->bhwd", windows, kernel) - mean) / np.sqrt(variance + norm.epsilon) + beta


def _gates(x: np.ndarray, weights: list[np.ndarray], gate: str) -> np.ndarray:
    """Compute the gates `[B, 1, 1, C]` of squeeze-and-excitation in NumPy."""
    squeeze, bias1, excite, bias2 = weights
    logits = np.maximum(x.mean(axis=(1, 2), keepdims=True) @ squeeze[0] + bias1, 0.0) @ excite[0] + bias2
    return 1 / (1 + np.exp(-logits)) if gate == "sigmoid" else np.clip(logits + 3, 0, 6) * 0.16667


@pytest.mark.parametrize("se_ratio", [0.0, 0.5])
@pytest.mark.parametrize(("channels", "strides"), [(4, 1), (6, 1), (4, 2)])
def test_a_fused_mbconv_follows_its_formula(channels, strides, se_ratio, randomize):
    style = Style(activation="relu6", se_ratio=se_ratio)
    model = randomize(_model(fused_mbconv, channels, 4, style, expansion=3, strides=strides))
    x = np.random.default_rng(0).normal(size=(2, 8, 8, channels)).astype("float32")
    wide = np.clip(_conv_bn(x, model, "block_expand", strides), 0.0, 6.0)
    assert wide.shape[-1] == 3 * channels
    if se_ratio:
        wide *= _gates(wide, [weight.numpy() for weight in model.weights if "_se_" in weight.path], "hard_sigmoid")
    expected = _conv_bn(wide, model, "block_project")
    if (channels, strides) == (4, 1):
        expected += x
    np.testing.assert_allclose(model(x), expected, atol=1e-5)


@pytest.mark.parametrize(("options", "expansion"), [({}, 4), ({"expansion": 6}, 6), ({"expansion": 1}, 1)])
def test_a_fused_mbconv_has_the_costs_of_its_formula(options, expansion):
    model = _model(fused_mbconv, 10, 12, Style(se_ratio=0.25), strides=2, **options)
    wide, squeezed, pixels = expansion * 10, 2, 4 * 4
    kernels, gates = 3 * 3 * 10 * wide + wide * 12, 2 * wide * squeezed
    assert count_params(model) == kernels + gates + 2 * (wide + 12) + squeezed + wide
    assert multiply_adds(model) == pixels * kernels + gates


def test_a_ratio_of_zero_leaves_squeeze_and_excitation_out():
    assert not [name for name in _names(_model(mbconv, 8, 8, Style(se_ratio=0.0))) if "_se_" in name]


@pytest.mark.parametrize("gate", ["hard_sigmoid", "sigmoid"])
def test_squeeze_and_excitation_follows_its_formula(gate, randomize):
    model = randomize(_model(squeeze_excite, 6, 2, Style(se_gate=gate)))
    x = np.random.default_rng(0).normal(size=(3, 8, 8, 6)).astype("float32")
    scale = _gates(x, [weight.numpy() for weight in model.weights], gate)
    np.testing.assert_allclose(model(x), x * scale, atol=1e-5)


def test_the_hard_sigmoid_has_the_published_constant():
    np.testing.assert_allclose(published_hard_sigmoid(ops.convert_to_tensor([-4.0, 0.0, 9.0])), [0, 0.50001, 1.00002])


def test_stochastic_depth_drops_whole_samples_and_scales_the_others():
    x = keras.Input((3, 3, 2))
    model = keras.Model(x, stochastic_depth(x, 0.25, name="drop"))
    outputs = np.array(model(np.ones((400, 3, 3, 2), "float32"), training=True)).reshape(400, -1)
    assert (outputs == outputs[:, :1]).all(), "a sample is kept or dropped as a whole"
    np.testing.assert_allclose(np.unique(outputs), [0.0, 1 / 0.75], rtol=1e-6)
    assert 0.17 < (outputs[:, 0] == 0).mean() < 0.33
    np.testing.assert_array_equal(model(np.ones((2, 3, 3, 2), "float32")), np.ones((2, 3, 3, 2)))


def test_stochastic_depth_of_zero_adds_nothing():
    x = keras.Input((3, 3, 2))
    assert stochastic_depth(x, 0.0, name="drop") is x


def test_repeats_are_chained_and_only_the_first_strides():
    def three(x, name):
        return chain("bottleneck", x, 4, Style(), repeats=3, strides=2, name=name)

    model = _model(three, 16)
    assert model.output_shape == (None, 4, 4, 16)
    assert [layer.name for layer in model.layers if "shortcut" in layer.name and "bn" not in layer.name] == [
        "block_repeat0_shortcut"
    ]
    assert {name.split("_")[1] for name in _names(model)} == {"repeat0", "repeat1", "repeat2"}


@pytest.mark.parametrize("activation", ["relu", "relu6", "swish", "hard_swish", "gelu"])
def test_every_activation_is_built_by_its_name(activation):
    model = _model(residual, 4, 4, Style(activation=activation))
    x = np.linspace(-8, 8, 2 * 8 * 8 * 4, dtype="float32").reshape(2, 8, 8, 4)
    np.testing.assert_allclose(
        model.get_layer("block_out")(x), keras.activations.get(activation)(ops.convert_to_tensor(x)), atol=1e-6
    )
