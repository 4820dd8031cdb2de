"""Custom graphs with kinds, widths, expansions and repeats per block.

The MBConv net on SpineNet-49's graph stands for Eff-SpineNet (arXiv 2010.11426), which is not published: its widths
are from memory, and an independent count gave the expected sizes for the same rows.
"""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from spinenet_tf import ArchitectureSpec, BlockSpec, backbone, detector
from spinenet_tf.nets.backbone import Backbone
from spinenet_tf.nets.costs import count_params, multiply_adds, without_values
from spinenet_tf.nets.graphs import MOBILE_WIDTHS, SPINENET

WIDTHS = (16, 104, 48, 120, 40, 120, 168, 96, 192, 136, 104, 40, 136, 136, 40)
EFFICIENT = ArchitectureSpec(
    "efficient",
    stem=(1, 2),
    blocks=tuple(
        replace(block, kind="mbconv", width=width) for block, width in zip(SPINENET.blocks, WIDTHS, strict=False)
    ),
    widths=MOBILE_WIDTHS,
    stem_conv="mobile",
    stem_block="mbconv",
    resampling="depthwise",
    round_to=8,
)


def _mixed(**changes) -> ArchitectureSpec:
    """Return a small graph with all kinds of blocks, one in its stem; `changes` apply to its last block."""
    blocks = (
        BlockSpec(4, "residual", (0, 1)),
        BlockSpec(3, "bottleneck", (1, 2), is_output=True),
        replace(BlockSpec(4, "mbconv", (2, 3), is_output=True), **changes),
    )
    return ArchitectureSpec(
        "mixed", (1, 2), blocks, dict.fromkeys(range(5), 8), stem_conv="mobile", stem_block="fused_mbconv"
    )


def _built(spec: ArchitectureSpec, **overrides) -> Backbone:
    return backbone(spec, (64, 64, 3), max_level=4, endpoint=8, **overrides)


@pytest.mark.parametrize(
    ("side", "width", "channels", "convs", "params_m", "macs_b"),
    [(512, 1.05, 72, 4, 3.69, 2.48), (384, 0.85, 48, 4, 2.36, 0.955)],
    ids=["D0", "M2"],
)
def test_widths_per_block_give_the_sizes_that_were_counted_elsewhere(side, width, channels, convs, params_m, macs_b):
    sizes = {"width": width, "endpoint": channels, "head_width": channels, "head_depth": convs}
    net = without_values(lambda: detector(EFFICIENT, 91, (side, side, 3), **sizes))
    assert count_params(net) / 1e6 == pytest.approx(params_m, abs=0.005)
    assert multiply_adds(net, published_order=True) / 1e9 == pytest.approx(macs_b, abs=0.005)


def test_a_block_has_a_width_of_its_own_rounded_as_the_graph_says():
    net = backbone(EFFICIENT, (64, 64, 3), width=0.5, endpoint=8)
    widths = [net.get_layer(f"block{node}_project").filters for node in range(2, 17)]
    assert widths == [max(8, int(width / 16 + 0.5) * 8) for width in WIDTHS]
    assert (net.get_layer("stem_conv").filters, net.get_layer("stem_block0_project").filters) == (8, 8)


def test_kinds_mix_and_each_has_its_resampling_and_fusion(images, randomize, tmp_path):
    net = randomize(_built(_mixed()))
    kinds = {"block2_conv2", "block3_conv3", "block4_depthwise", "block4_se_gate", "stem_block1_se_gate"}
    assert kinds | {"block4_resample1_reduce"} <= {layer.name for layer in net.layers}
    assert net.get_layer("stem_block1_expand").kernel_size == (3, 3)
    assert net.get_layer("block3_out").output.shape[-1] == 32, "a bottleneck emits four times its width"
    pyramid = net(images(64, 64, 1))
    assert all(np.isfinite(x).all() and np.std(x) > 1e-3 for x in pyramid.values())
    net.save_weights(tmp_path / "net.weights.h5")
    copy = Backbone.from_config(json.loads(json.dumps(net.get_config())))
    copy.load_weights(tmp_path / "net.weights.h5")
    for level, x in copy(images(64, 64, 1)).items():
        np.testing.assert_array_equal(x, pyramid[level])


def test_alpha_is_of_the_parents_own_width():
    spec = _mixed()
    blocks = (replace(spec.blocks[0], width=24), *spec.blocks[1:])
    net = _built(replace(spec, blocks=blocks), alpha=0.5)
    assert net.get_layer("block3_resample1_reduce").filters == 12
    assert net.get_layer("block3_resample0_reduce").filters == 4


def test_expansion_is_of_the_blocks_wide_end():
    spec = _mixed(expansion=2.5)
    blocks = (spec.blocks[0], replace(spec.blocks[1], expansion=2), spec.blocks[2])
    net = _built(replace(spec, blocks=blocks))
    assert net.get_layer("block3_conv3").filters == net.get_layer("block3_resample0_expand").filters == 16
    assert net.get_layer("block4_expand").filters == 20
    names = {layer.name for layer in _built(_mixed(expansion=1)).layers}
    assert "block4_depthwise" in names
    assert "block4_expand" not in names, "it would be a conv of as many channels as come"


def test_repeats_of_a_block_are_times_those_of_the_net():
    net = _built(_mixed(repeats=3), repeats=2)
    names = {layer.name.rpartition("_")[0] for layer in net.layers if layer.name.endswith("_depthwise")}
    assert {name for name in names if name.startswith("block4")} == {f"block4_repeat{index}" for index in range(6)}
    assert [layer.name for layer in net.layers if layer.name.startswith("block2") and layer.name.endswith("_out")] == [
        "block2_repeat0_out",
        "block2_repeat1_out",
    ]


def test_weights_of_a_graph_that_differs_in_one_block_are_refused(tmp_path):
    _built(_mixed()).save_weights(tmp_path / "net.weights.h5")
    with pytest.raises(ValueError, match=r"blocks\.2\.expansion: absent in the file, 6 in the model"):
        _built(_mixed(expansion=6)).load_weights(tmp_path / "net.weights.h5")


@pytest.mark.parametrize("stem_block", ["mbconv", "fused_mbconv"])
def test_weights_files_name_the_gate_of_every_graph_that_has_one(stem_block):
    blocks = (BlockSpec(3, "residual", (0, 1), is_output=True),)
    gated, plain = (
        ArchitectureSpec("mine", (2, 2), blocks, {2: 8, 3: 8}, stem_block=kind) for kind in (stem_block, "bottleneck")
    )
    given = {"max_level": 3, "endpoint": 8, "se_gate": "sigmoid"}
    assert backbone(gated, (32, 32, 3), **given).architecture()["se_gate"] == "sigmoid"
    assert "se_gate" not in backbone(plain, (32, 32, 3), **given).architecture()
