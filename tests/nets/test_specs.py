"""Invalid graphs are refused with errors that name the block, and the tables equal those of the paper."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, replace
from random import Random

import pytest

from spinenet_tf import ArchitectureSpec, BlockSpec
from spinenet_tf.nets.family import VARIANTS
from spinenet_tf.nets.graphs import R50_FPN, SPINENET, SPINENET_MOBILE
from spinenet_tf.nets.style import Style

OUTPUT = BlockSpec(3, "bottleneck", (0, 1), is_output=True)


def _spec(*blocks: BlockSpec, stem: tuple[int, ...] = (2, 2), **kwargs) -> ArchitectureSpec:
    return ArchitectureSpec("mine", stem, blocks, **kwargs)


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ([OUTPUT, BlockSpec(4, "bottleneck", (0, 9))], r"Block 3 reads block 9, which is built later.*\(0, 9\)"),
        ([OUTPUT, BlockSpec(4, "bottleneck", (0, 3))], "Block 3 reads block 3, which is built later"),
        ([OUTPUT, BlockSpec(4, "bottleneck", (-1, 0))], "Block 3 reads block -1, which does not exist"),
        ([OUTPUT, BlockSpec(4, "bottleneck", (0, 1, 2))], "Block 3 needs one or two parents"),
        ([OUTPUT, BlockSpec(4, "bottleneck", ())], r"Block 3 needs one or two parents.*parents=\(\)"),
        ([OUTPUT, BlockSpec(4, "bottleneck", (1, 1))], r"Block 3 reads block 1 twice.*\(1, 1\)"),
        ([OUTPUT, BlockSpec(4, "transformer", (0, 1))], "Block 3 has an unknown kind.*bottleneck.*'transformer'"),
        ([OUTPUT, BlockSpec(8, "bottleneck", (0, 1))], "Block 3 has a level without a width.*level=8"),
        ([OUTPUT, BlockSpec(0, "bottleneck", (0, 1))], r"Block 3 has a level .*valid are \[1, 2, .*level=0"),
        ([OUTPUT, OUTPUT], "Blocks 2 and 3 are both outputs of level 3"),
        ([BlockSpec(4, "bottleneck", (0, 1))], "No block of 'mine' is an output"),
        ([], "No block of 'mine' is an output"),
        ([OUTPUT, BlockSpec("4", "bottleneck", (0, 1))], "Block 3 has a level without a width.*level='4'"),
        (
            [OUTPUT, BlockSpec(9, "residual", (0, 1), width=8)],
            r"Block 3 has a level .*valid are \[1, .* 7\]. Received: level=9",
        ),
        ([OUTPUT, BlockSpec(4, "residual", (0, 1), width=0)], "block 3 must be 1..65536. Received: width=0"),
        ([OUTPUT, BlockSpec(4, "residual", (0, 1), width=2.5)], "block 3 must be .*width=2.5"),
        ([OUTPUT, BlockSpec(4, "residual", (0, 1), expansion=2)], "of block 3 must be .*'residual', expansion=2"),
        ([OUTPUT, BlockSpec(4, "mbconv", (0, 1), expansion=0.5)], "expansion of block 3 must be 1..64 .*expansion=0.5"),
        ([OUTPUT, BlockSpec(4, "mbconv", (0, 1), repeats=True)], "repeats of block 3 must be 1..100.*repeats=True"),
        ([OUTPUT, BlockSpec(4, "mbconv", (0, 1), is_output=1)], "of block 3 must be true or false.*is_output=1"),
        ([OUTPUT, BlockSpec(4, "mbconv", (0, 1.0))], r"Block 3 needs one or two parents.*\(0, 1.0\)"),
    ],
)
def test_a_graph_that_cannot_be_built_is_refused_by_the_name_of_its_block(blocks, message):
    with pytest.raises(ValueError, match=message):
        _spec(*blocks)


def test_a_block_has_one_parent_or_two_different_ones():
    one = _spec(replace(OUTPUT, parents=(1,)))
    assert one.blocks[0].get_config()["parents"] == [1]
    assert ArchitectureSpec.from_config(json.loads(json.dumps(one.get_config()))) == one


@pytest.mark.parametrize(("stem_conv", "stem"), [("resnet", (2, 2)), ("mobile", (1, 2))])
def test_a_block_at_level_1_needs_a_width_of_level_1_or_its_own(stem_conv, stem):
    fine, widths = BlockSpec(1, "residual", (0, 1)), {0: 8, 1: 8, 2: 8, 3: 8}
    assert _spec(fine, OUTPUT, stem=stem, stem_conv=stem_conv, widths=widths).blocks[0].level == 1
    without = {2: 8, 3: 8}
    with pytest.raises(ValueError, match=r"Block 2 has a level without a width; valid are \[2, 3\]. Received: level=1"):
        _spec(fine, OUTPUT, widths=without)
    assert _spec(replace(fine, width=4), OUTPUT, widths=without).blocks[0].width == 4


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("name", "", "like 'my_graph'. Received: name=''"),
        ("name", None, "like 'my_graph'. Received: name=None"),
        ("name", "my graph", "A name must have at most 100 .* like 'my_graph'. Received: name='my graph'"),
        ("name", "_größe/2", "like 'gr_e_2'. Received: name='_größe/2'"),
        ("name", "..", "like 'my_graph'. Received: name='..'"),
        ("name", "x" * 101, f"like '{'x' * 100}'. Received: name='xxx"),
        ("stem_conv", "vgg", r"`stem_conv` must be one of \('resnet', 'mobile'\). Received: stem_conv='vgg'"),
        ("stem_block", None, "`stem_block` must be one of .*'residual'.*Received: stem_block=None"),
        ("resampling", "bilinear", "`resampling` must be one of .*'depthwise'.*Received: resampling='bilinear'"),
        ("fusion", "bifpn", "`fusion` must be one of .*'fpn'.*Received: fusion='bifpn'"),
        ("fusion", "fpn", "Only fusion 'blocks' can have blocks. Received: fusion='fpn', 1 blocks"),
        ("round_to", 0, "`round_to` must be a whole number 1..65536. Received: round_to=0"),
        ("widths", {3: 8.5}, "levels 0..7 to whole numbers 1..65536. Received: widths={3: 8.5}"),
        ("widths", 8, "Received: widths=8"),
        ("blocks", [OUTPUT], "`blocks` must be a tuple"),
        ("blocks", ({"level": 3},), "Block 2 is not a BlockSpec. Received: {'level': 3}"),
    ],
)
def test_a_field_out_of_range_is_refused(field, value, message):
    with pytest.raises(ValueError, match=message):
        replace(_spec(OUTPUT), **{field: value})


def test_a_mobile_stem_starts_at_level_1_and_has_a_width_at_level_0():
    mobile = {"stem": (1, 2), "stem_conv": "mobile"}
    assert replace(_spec(OUTPUT), **mobile, widths=dict.fromkeys(range(4), 8)).stem == (1, 2)
    with pytest.raises(ValueError, match="levels from 1 on"):
        replace(_spec(OUTPUT), stem_conv="mobile")
    with pytest.raises(ValueError, match="`widths` has no level 0, which a mobile stem uses"):
        replace(_spec(OUTPUT), **mobile)


def test_an_fpn_reads_levels_that_the_stem_has():
    with pytest.raises(
        ValueError, match=r"Fusion 'fpn' needs a stem with the levels \(3, 4, 5\). Received: stem=\(2, 2, 3\)"
    ):
        _spec(stem=(2, 2, 3), fusion="fpn")


@pytest.mark.parametrize("stem", [(), (2,), (3, 3), (2, 4), (3, 2), (1, 2)])
def test_a_stem_starts_at_level_2_and_rises_by_at_most_one(stem):
    with pytest.raises(ValueError, match="stem"):
        _spec(OUTPUT, stem=stem)


def test_a_stem_level_needs_a_width():
    with pytest.raises(ValueError, match="`widths` has no level 3, which the stem uses"):
        _spec(BlockSpec(2, "residual", (0, 1), is_output=True), stem=(2, 3), widths={2: 64})


@pytest.mark.parametrize("name", VARIANTS)
def test_a_graph_survives_json(name):
    graph = VARIANTS[name].graph
    assert ArchitectureSpec.from_config(json.loads(json.dumps(graph.get_config()))) == graph


@pytest.mark.parametrize("name", [name for name, row in VARIANTS.items() if row.kind not in ("efficient", "rival")])
def test_configs_of_published_graphs_say_what_they_said_before_there_were_more_fields(name):
    config = VARIANTS[name].graph.get_config()
    assert config.keys() == {"name", "stem", "blocks", "widths"}
    assert all(block.keys() == {"level", "kind", "parents", "is_output"} for block in config["blocks"])


@pytest.mark.parametrize(
    ("kind", "stem", "parts"),
    [
        ("bottleneck", (2, 2), ("resnet", "bottleneck", "alpha")),
        ("mbconv", (1, 2), ("mobile", "mbconv", "depthwise")),
        ("fused_mbconv", (1, 2), ("mobile", "mbconv", "depthwise")),
    ],
)
def test_a_config_without_the_fields_is_read_as_it_was_meant(kind, stem, parts):
    block = {"level": 3, "kind": kind, "parents": [0, 1], "is_output": True}
    widths = {str(level): 8 for level in range(8)}
    spec = ArchitectureSpec.from_config({"name": "mine", "stem": list(stem), "blocks": [block], "widths": widths})
    assert (spec.stem_conv, spec.stem_block, spec.resampling, spec.fusion) == (*parts, "blocks")


def test_a_config_says_what_is_not_as_it_was_before():
    blocks = (replace(OUTPUT, kind="mbconv", width=24, expansion=3.5, repeats=2),)
    spec = _spec(*blocks, stem_block="residual", round_to=8)
    config = json.loads(json.dumps(spec.get_config()))
    assert {name: config[name] for name in ("stem_conv", "stem_block", "resampling", "round_to")} == {
        "stem_conv": "resnet",  # blocks like these would be guessed to have a mobile stem
        "stem_block": "residual",
        "resampling": "alpha",
        "round_to": 8,
    }
    assert ArchitectureSpec.from_config(config) == spec


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stems": [2, 2]}, "A graph: Unknown key 'stems'. Did you mean 'stem'?"),
        (
            {"blocks": [{"level": 3, "knd": "residual", "parents": [0, 1]}]},
            "Block 2: Unknown key 'knd'. Did you mean 'kind'",
        ),
        ({"blocks": [{"level": 3, "kind": "residual"}]}, "Block 2 is missing keys: parents. Received: level, kind"),
        ({"blocks": ["residual"]}, "Block 2 must be a mapping. Received: 'residual'"),
        ({"blocks": 3}, r"`blocks` must be a tuple \(a list in YAML\). Received: blocks=3"),
        ({"stem": 2}, "`stem` must have two or more levels"),
        ({"widths": [8]}, "Received: widths=.8."),
    ],
)
def test_a_config_with_a_fault_is_refused_by_what_it_says(changes, message):
    with pytest.raises(ValueError, match=message):
        ArchitectureSpec.from_config(_spec(OUTPUT).get_config() | changes)


JUNK = (None, True, -1, 3, 10**30, 2.5, float("nan"), "", "3", [], [1], [[1], 2], {}, {"a": 1}, b"x", [None, None])


@pytest.mark.parametrize("graph", [SPINENET, SPINENET_MOBILE, R50_FPN], ids=lambda spec: spec.name)
def test_whatever_a_config_says_it_is_read_or_refused(graph):
    random = Random(0)
    refused = 0
    for _ in range(500):
        config = graph.get_config()
        part = random.choice([config, config["widths"], *config["blocks"]])
        part[random.choice([*part, "stem_conv", "resampling", "width"])] = random.choice(JUNK)
        try:
            spec = ArchitectureSpec.from_config(config)
        except ValueError:
            refused += 1
        else:
            assert ArchitectureSpec.from_config(json.loads(json.dumps(spec.get_config()))) == spec
    assert 350 < refused < 500


def test_a_config_needs_a_name_a_stem_and_blocks():
    with pytest.raises(ValueError, match=r"A graph is missing keys: name, stem\. Received: blocks"):
        ArchitectureSpec.from_config({"blocks": []})


def test_transposed_convs_need_a_stem_to_come_from():
    with pytest.raises(ValueError, match=r"needs a stem that ends at level 3 or coarser. Received: stem=\(2, 2\)"):
        _spec(fusion="deconv")


def test_widths_are_cut_to_whole_numbers_or_rounded_to_the_nearest_multiple():
    cut, rounded = _spec(OUTPUT), _spec(OUTPUT, round_to=8)
    assert [cut.scaled(width, 0.65) for width in (16, 24, 40, 1)] == [10, 15, 26, 1]
    assert [rounded.scaled(width, 0.65) for width in (16, 24, 40, 1)] == [8, 16, 24, 8]
    assert rounded.scaled(24, 0.5) == 16, "half a multiple is rounded up"


def test_kinds_are_those_of_the_blocks_and_of_the_stem():
    spec = _spec(OUTPUT, replace(OUTPUT, level=4, kind="residual"), stem_block="fused_mbconv")
    assert spec.kinds == {"bottleneck", "residual", "fused_mbconv"}
    assert spec.has_mbconv
    assert not SPINENET.has_mbconv
    assert SPINENET_MOBILE.has_mbconv


def test_specs_are_frozen_and_validated_again_when_replaced():
    with pytest.raises(FrozenInstanceError):
        OUTPUT.level = 4
    with pytest.raises(ValueError, match="stem"):
        replace(SPINENET, stem=(2,))


def test_two_specs_do_not_share_their_widths():
    first, second = _spec(OUTPUT), _spec(OUTPUT)
    first.widths[3] = 1
    assert second.widths[3] == 128


def test_the_tables_have_the_published_blocks():
    assert [block.kind for block in SPINENET.blocks].count("residual") == 4
    assert len(SPINENET.stem + SPINENET.blocks) == 18  # with the L2 block that Model Garden adds
    assert SPINENET.output_levels == (2, 3, 4, 5, 6, 7)
    assert {block.kind for block in SPINENET_MOBILE.blocks} == {"mbconv"}
    assert SPINENET_MOBILE.output_levels == (3, 4, 5, 6, 7)
    assert (R50_FPN.fusion, R50_FPN.output_levels) == ("fpn", (3, 4, 5, 6, 7))


# Table 1 of the paper: the blocks of the levels 2 to 5 in the stem, and of the levels 2 to 7 after it.
BLOCKS_BY_LEVEL = {
    "r50_fpn": ([3, 4, 6, 3], [0, 0, 0, 0, 0, 0]),
    "r23_sp30": ([2, 2, 2, 1], [1, 2, 4, 1, 1, 1]),
    "r0_sp53": ([2, 0, 0, 0], [1, 4, 6, 2, 1, 1]),
    "spinenet_49": ([2, 0, 0, 0], [1, 2, 4, 4, 2, 2]),
}


@pytest.mark.parametrize("name", BLOCKS_BY_LEVEL)
def test_each_level_has_as_many_blocks_as_published(name):
    graph = VARIANTS[name].graph
    levels = [block.level for block in graph.blocks if not (block.is_output and block.level == 2)]  # Model Garden's
    counts = [graph.stem.count(level) for level in range(2, 6)], [levels.count(level) for level in range(2, 8)]
    assert counts == BLOCKS_BY_LEVEL[name]


@pytest.mark.parametrize("name", VARIANTS)
def test_published_figures_are_the_detectors_not_placeholders(name):
    row = VARIANTS[name]
    assert row.image_size % 128 == 0
    published = "swish" if row.kind in ("mobile", "efficient") else "relu"
    assert Style.of(row.style).activation == ("relu6" if name.endswith("_lite") else published)
    assert row.published.ap or row.published.note, "a variant without an accuracy says why"
