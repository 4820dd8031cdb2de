"""Every model builds and runs at any size, follows its spec and overrides, and can be saved and loaded."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from functools import cache

import keras
import numpy as np
import pytest

from spinenet_tf import ArchitectureSpec, BlockSpec, backbone, list_models
from spinenet_tf._fast.normalization import BatchNorm
from spinenet_tf.nets.backbone import Backbone
from spinenet_tf.nets.calls import maker_of
from spinenet_tf.nets.family import VARIANTS
from spinenet_tf.nets.graphs import SPINENET, SPINENET_MOBILE

NARROW = {"width": 0.25, "endpoint": 8}
SMALL = {"max_level": 5, "endpoint": 8}


@cache
def _narrow(name: str, side: int | None = 64) -> Backbone:
    """Return a model of the family, a quarter as wide, with at most two repeats. Tests may change only its weights."""
    return backbone(name, (side, side, 3), **NARROW, repeats=min(VARIANTS[name].style.get("repeats", 1), 2))


# The lite nets of SpineNet-Mobile are one graph at three widths, which are all the same here, and so are the nets of
# Eff-SpineNet. Its lite nets differ from these as those of SpineNet-Mobile do.
SAME = (*list_models("mobile")[-2:], *list_models("efficient")[1:])
GRAPHS = [name for name in list_models() if name not in SAME]

# SHA-256 of what a weights file goes by, as c02cfb5 computed it: architecture, and layers with their parameters.
FINGERPRINTS = {
    "spinenet_49s": "325b35c064ed6280",
    "spinenet_49": "325b35c064ed6280",
    "spinenet_96": "8af9202f5187f0c3",
    "spinenet_143": "9476f4a4c88f3f72",
    "spinenet_143l": "9476f4a4c88f3f72",
    "spinenet_190": "9476f4a4c88f3f72",
    "spinenet_mobile_49xs": "0a9414831ba2bcb0",
    "spinenet_mobile_49s": "0a9414831ba2bcb0",
    "spinenet_mobile_49": "0a9414831ba2bcb0",
    "spinenet_mobile_49xs_lite": "057b8edced0740ac",
    "eff_spinenet_m0": "c61a86bec6075c59",
    "r50_fpn": "d34ef88a0a0cbd38",
    "r23_sp30": "be8f0d4bca1526e4",
    "r0_sp53": "7607a7c846729f63",
    "resnet_18": "01a2f32d66031876",
}


@pytest.fixture(scope="module", params={fingerprint: name for name, fingerprint in FINGERPRINTS.items()}.values())
def dynamic(request, randomize):
    """Return each model of the family, with an unknown input size; of those that are equal here, the last."""
    return randomize(_narrow(request.param, None))


def _tiny(tiny_spec, shape=(64, 64, 3), **overrides) -> Backbone:
    return backbone(tiny_spec, shape, **SMALL | overrides)


def _side(side: int, level: int) -> int:
    return -(-side // 2**level)


def _layers(model, kind=keras.layers.Layer) -> list:
    return [layer for layer in model.layers if isinstance(layer, kind)]


@pytest.mark.parametrize("size", [(64, 64), (100, 75)])
def test_every_model_gives_a_finite_pyramid_at_any_size(dynamic, images, size):
    pyramid = dynamic(images(*size, 1))
    first, last = dynamic.spec.levels
    assert (first, last) == ((2, 2) if dynamic.name == "resnet_18" else (3, 7))
    assert sorted(pyramid) == [f"P{level}" for level in range(first, last + 1)]
    for level in range(first, last + 1):
        x = np.array(pyramid[f"P{level}"])
        assert x.shape == (1, _side(size[0], level), _side(size[1], level), 8)
        assert np.isfinite(x).all()
        assert x.std() > 1e-3, "a dead pyramid would pass every comparison"


def test_every_model_survives_its_config_and_weights_at_a_fixed_odd_size(dynamic, images, tmp_path):
    config = json.loads(json.dumps(dynamic.get_config()))
    static = Backbone.from_config(config | {"input_shape": [96, 160, 3]})
    assert static.get_config() | {"input_shape": [None, None, 3]} == dynamic.get_config()
    dynamic.save_weights(tmp_path / "net.weights.h5")
    static.load_weights(tmp_path / "net.weights.h5")
    pyramid = static(images(96, 160, 1))
    for level, expected in dynamic(images(96, 160, 1)).items():
        np.testing.assert_allclose(pyramid[level], expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("name", GRAPHS)
def test_a_net_is_what_weights_files_of_it_were_written_for(name):
    net = _narrow(name)
    said = {"architecture": net.architecture(), "layers": [[layer.name, layer.count_params()] for layer in net.layers]}
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
    assert digest.startswith(FINGERPRINTS[name]), "old files of its weights would be refused"


@pytest.mark.parametrize("name", ["spinenet_mobile_49xs", "r50_fpn"])
def test_a_keras_file_gives_identical_outputs(name, images, randomize, tmp_path):
    net = randomize(backbone(name, (64, 64, 3), **NARROW, stochastic_depth=0.2, l2=1e-4))
    net.save(tmp_path / "net.keras")
    copy = keras.models.load_model(tmp_path / "net.keras")
    assert type(copy) is Backbone
    assert copy.get_config() == net.get_config()
    expected = net(images(64, 64, 1))
    for level, x in copy(images(64, 64, 1)).items():
        np.testing.assert_array_equal(x, expected[level])


@pytest.mark.parametrize("shape", [(64, 64, 3), (128, 128, 3), (100, 75, 3), (32, 33, 3), (None, 64, 3)])
def test_the_size_changes_neither_graph_nor_function(tiny_spec, tiny_backbone, images, shape):
    net = _tiny(tiny_spec, shape)
    assert [layer.name for layer in net.layers] == [layer.name for layer in tiny_backbone.layers]
    anything = _tiny(tiny_spec, (None, None, 3))
    for model in (net, anything):
        model.set_weights(tiny_backbone.get_weights())
    x = images(shape[0] or 96, shape[1] or 96)
    ours, theirs = net(x), anything(x)
    for level in ("P3", "P4", "P5"):
        np.testing.assert_allclose(ours[level], theirs[level], atol=1e-5)


def test_outputs_come_in_the_order_of_their_levels():
    net = _narrow("spinenet_mobile_49xs")
    assert [output.shape[1] for output in net.outputs] == [8, 4, 2, 1, 1]
    assert [layer.name for layer in _layers(net) if layer.name.endswith("_act") and "endpoint" in layer.name] == [
        f"endpoint_P{level}_act" for level in range(3, 8)
    ]


def test_an_image_alone_gives_what_it_gives_in_a_batch(tiny_backbone, images):
    x = images(64, 64, 3)
    np.testing.assert_allclose(tiny_backbone(x)["P5"][1:2], tiny_backbone(x[1:2])["P5"], atol=1e-5)


@pytest.mark.parametrize(("min_level", "max_level"), [(2, 7), (4, 5)])
def test_only_the_levels_asked_for_are_built(min_level, max_level):
    net = backbone("spinenet_49", (64, 64, 3), min_level=min_level, max_level=max_level, **NARROW)
    levels = range(min_level, max_level + 1)
    assert sorted(net.output) == [f"P{level}" for level in levels]
    assert [output.shape[1] for output in net.outputs] == [_side(64, level) for level in levels]
    assert ("endpoint_P2" in {layer.name for layer in net.layers}) == (min_level == 2)


@pytest.mark.parametrize(
    ("name", "levels", "message"),
    [
        ("spinenet_mobile_49", {"min_level": 2}, r"outputs the levels \(3, 4, 5, 6, 7\). Received: min_level=2"),
        ("r0_sp53", {"min_level": 2}, "Received: min_level=2, max_level=7"),
        ("spinenet_49", {"max_level": 8}, "Received: min_level=3, max_level=8"),
        ("spinenet_49", {"min_level": 5, "max_level": 4}, "Received: min_level=5, max_level=4"),
    ],
)
def test_a_level_that_is_no_output_is_refused(name, levels, message):
    with pytest.raises(ValueError, match=message):
        backbone(name, **levels)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((31, 64, 3), r"at least 32 px. Received: input_shape=\(31, 64, 3\)"),
        ((None, 8, 3), "at least 32 px"),
        ((64, 64, 1), r"\(height, width, 3\). Received: input_shape=\(64, 64, 1\)"),
        ((64, 64), r"\(height, width, 3\)"),
    ],
)
def test_an_input_that_is_no_image_is_refused(shape, message):
    with pytest.raises(ValueError, match=message):
        backbone("spinenet_49", shape)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"width": 0.0}, "width must be a number above 0 and at most 64. Received: width=0.0"),
        ({"alpha": -1.0}, "alpha must be a number above 0"),
        ({"repeats": 0}, "repeats must be a whole number at least 1"),
        ({"endpoint": 0}, "endpoint must be a whole number at least 1"),
        ({"stochastic_depth": 1.0}, "at least 0 and below 1. Received: stochastic_depth=1.0"),
        ({"activation": "tanh"}, "Unknown activation 'tanh'. Valid: relu, "),
    ],
)
def test_an_override_out_of_range_is_refused(tiny_spec, override, message):
    with pytest.raises(ValueError, match=message):
        _tiny(tiny_spec, **override)


def test_width_scales_every_block_but_not_the_stem_conv(tiny_spec):
    net = _tiny(tiny_spec, width=1.5)
    assert net.get_layer("block4_conv2").filters == int(8 * 1.5)
    assert net.get_layer("block2_conv2").filters == int(4 * 1.5)
    assert net.get_layer("stem_conv").filters == 64


def test_alpha_scales_the_inner_convs_of_connections_truncated(tiny_spec):
    assert _tiny(tiny_spec, alpha=0.3).get_layer("block5_resample1_reduce").filters == int(0.3 * 8)
    assert _tiny(tiny_spec, alpha=1.0).get_layer("block5_resample0_reduce").filters == 4


def test_repeats_chain_each_block(tiny_spec):
    names = {layer.name for layer in _tiny(tiny_spec, repeats=2).layers}
    assert {"stem_block0_repeat1_out", "block5_repeat0_out", "block5_repeat1_out"} <= names
    assert "block5_out" not in names


def test_activation_norms_and_synchronization_reach_every_layer(tiny_spec):
    net = _tiny(tiny_spec, activation="hard_swish", norm_momentum=0.9, norm_epsilon=1e-5, sync_bn=True)
    assert {layer.activation.__name__ for layer in _layers(net, keras.layers.Activation)} == {"hard_silu"}
    assert {(n.momentum, n.epsilon, n.synchronized) for n in _layers(net, BatchNorm)} == {(0.9, 1e-5, True)}


def test_squeeze_and_excitation_can_be_changed_or_left_out():
    def gates(net) -> set:
        return {layer.activation.__name__ for layer in _layers(net) if layer.name.endswith("_se_gate")}

    assert gates(_narrow("spinenet_mobile_49xs")) == {"published_hard_sigmoid"}
    assert gates(backbone("spinenet_mobile_49xs", (64, 64, 3), **NARROW, se_gate="sigmoid")) == {"sigmoid"}
    assert gates(backbone("spinenet_mobile_49xs", (64, 64, 3), **NARROW, se_ratio=0.0)) == set()


def test_stochastic_depth_grows_linearly_and_spares_the_stem(tiny_spec, images):
    net = _tiny(tiny_spec, stochastic_depth=0.6)
    rates = {layer.name: layer.rate for layer in _layers(net, keras.layers.Dropout)}
    assert rates == pytest.approx({f"block{node}_drop": 0.6 * (node - 1) / 6 for node in range(2, 8)})
    x = images(64, 64)
    assert not np.allclose(net(x, training=True)["P5"], net(x, training=True)["P5"])
    np.testing.assert_array_equal(net(x)["P5"], net(x)["P5"])


def test_l2_counts_every_conv_once(tiny_spec):
    net = _tiny(tiny_spec, l2=1e-2)
    kernels = [np.array(layer.kernel.value) for layer in _layers(net, keras.layers.Conv2D)]
    assert len(net.losses) == len(kernels)
    expected = sum(0.5e-2 * np.sum(kernel**2) for kernel in kernels)
    np.testing.assert_allclose(float(sum(net.losses)), expected, rtol=1e-5)
    assert _tiny(tiny_spec).losses == []


def test_every_convs_fan_in_sets_its_initial_scale():
    net = backbone("spinenet_49", (64, 64, 3), width=0.5, max_level=5)
    for name in ("stem_conv", "block5_conv2", "block11_resample1_expand"):
        kernel = np.array(net.get_layer(name).kernel.value)
        assert kernel.std() * np.sqrt(np.prod(kernel.shape[:3])) == pytest.approx(1.0, rel=0.1)


def _additions(net: keras.Model, node: int) -> int:
    return len([layer for layer in _layers(net, keras.layers.Add) if layer.name.startswith(f"block{node}_fuse")])


@pytest.mark.parametrize("side", [64, None])
@pytest.mark.parametrize(("name", "dangling"), [("spinenet_49", (11, 14)), ("spinenet_mobile_49xs", (12, 15))])
def test_the_dangling_rule_adds_one_edge_whatever_the_pixels(name, dangling, side):
    net = _narrow(name, side)
    spec = SPINENET if name == "spinenet_49" else SPINENET_MOBILE
    source, target = dangling
    blocks = range(2, len(spec.stem) + len(spec.blocks))
    present = [node for node in blocks if _additions(net, node)]
    assert [node for node in present if _additions(net, node) == 2] == [target]
    extra = net.get_layer(f"block{target}_fuse1")
    suffix = "add" if name.startswith("spinenet_mobile") else "out"
    assert net.get_layer(f"block{source}_{suffix}").output in extra.input


def test_a_chained_stem_leaves_nothing_dangling():
    net = _narrow("r23_sp30", None)
    assert {_additions(net, node) for node in range(7, 17)} == {1}


def test_ones_own_graph_is_built_as_it_says(tiny_backbone):
    assert tiny_backbone.name == "tiny"
    assert {level: x.shape for level, x in tiny_backbone.output.items()} == {
        "P3": (None, 8, 8, 8),
        "P4": (None, 4, 4, 8),
        "P5": (None, 2, 2, 8),
    }
    assert _additions(tiny_backbone, 5) == 2, "node 2 is read by nobody"
    names = {layer.name for layer in tiny_backbone.layers}
    assert {"block5_resample1_up", "block7_resample1_down", "block6_conv2", "endpoint_P5_bn"} <= names
    assert "block6_conv3" not in names, "block 6 is a residual one"


def test_a_mobile_graph_of_ones_own_takes_the_mobile_style():
    blocks = (BlockSpec(3, "mbconv", (0, 1), is_output=True), BlockSpec(4, "mbconv", (1, 2), is_output=True))
    parts = {"stem_conv": "mobile", "stem_block": "mbconv", "resampling": "depthwise"}
    spec = ArchitectureSpec("mine", (1, 2), blocks, {0: 4, 1: 4, 2: 8, 3: 8, 4: 8}, **parts)
    net = backbone(spec, (64, 64, 3), max_level=4)
    assert (net.style.activation, net.name) == ("swish", "mine")
    assert net.get_layer("block3_depthwise").output.shape == (None, 4, 4, 48)


def test_a_graph_of_ones_own_that_lacks_a_level_says_so(tiny_spec):
    with pytest.raises(ValueError, match=r"tiny outputs the levels \(3, 4, 5\). Received: min_level=3, max_level=7"):
        backbone(tiny_spec, (64, 64, 3), max_level=7)


def test_a_graph_of_ones_own_has_all_its_levels_from_p3_on(tiny_spec):
    assert list(backbone(tiny_spec, (64, 64, 3), **NARROW).output) == ["P3", "P4", "P5"]
    fine = replace(tiny_spec, blocks=(replace(tiny_spec.blocks[0], level=2, is_output=True),))
    assert list(backbone(fine, (64, 64, 3), **NARROW).output) == ["P2"]


def test_edges_decide_what_is_read(tiny_spec, tiny_backbone):
    blocks = list(tiny_spec.blocks)
    blocks[4] = replace(blocks[4], parents=(4, 5))  # block 6 read 3, of 8 channels, instead of 4, of 32
    rewired = _tiny(replace(tiny_spec, blocks=tuple(blocks)))
    assert tiny_backbone.get_layer("block6_resample0_reduce").input.shape == (None, 2, 2, 8)
    assert rewired.get_layer("block6_resample0_reduce").input.shape == (None, 4, 4, 32)


@pytest.mark.parametrize(
    ("parent", "is_coarser"), [(4, False), (5, False), (3, True)], ids=["same", "finer", "coarser"]
)
def test_a_block_with_one_parent_has_no_sum_and_activates_it_before_upsampling(tiny_spec, parent, is_coarser):
    blocks = list(tiny_spec.blocks)
    blocks[4] = replace(blocks[4], parents=(parent,))
    net = _tiny(replace(tiny_spec, blocks=tuple(blocks)))
    assert _additions(net, 6) == 0
    activation = net.get_layer("block6_fuse_act")
    assert maker_of(activation.input).name == "block6_resample0_expand_bn"
    entry = net.get_layer("block6_conv1").input
    assert entry is (net.get_layer("block6_resample0_up") if is_coarser else activation).output


def test_a_block_at_level_1_has_half_the_resolution_of_the_image(tiny_spec, images):
    blocks = list(tiny_spec.blocks)
    blocks[2] = replace(blocks[2], level=1, width=4)
    net = _tiny(replace(tiny_spec, blocks=tuple(blocks)), (65, 64, 3))
    assert net.get_layer("block4_out").output.shape == (None, 33, 32, 16)
    assert net(images(65, 64))["P5"].shape == (2, 3, 2, 8)


def test_names_are_stable():
    """Checkpoint converters and users of TFLite tensors depend on these names: list any change in the changelog."""
    standard = [layer.name for layer in _narrow("spinenet_49").layers]
    assert standard[:5] == ["images", "stem_conv", "stem_conv_bn", "stem_conv_act", "stem_pool"]
    assert {
        "stem_block0_conv1",
        "stem_block1_out",
        "block4_resample0_expand_bn",
        "block3_conv2_bn",
        "block13_resample1_up",
        "block14_fuse_act",
        "endpoint_P7",
    } <= set(standard)
    assert len(standard) == len(set(standard))
    assert not [name for name in standard if name.rpartition("_")[0] in ("conv2d", "batch_norm", "activation", "add")]


def test_two_models_of_a_name_have_equal_names(tiny_spec, tiny_backbone):
    assert [weight.path for weight in _tiny(tiny_spec).weights] == [weight.path for weight in tiny_backbone.weights]
