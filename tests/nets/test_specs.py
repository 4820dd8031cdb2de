"""Graphs are validated once, errors name the block, and the tables hold what the paper says."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, replace

import pytest

from spinenet_tf import ArchitectureSpec, BlockSpec
from spinenet_tf.nets.family import VARIANTS
from spinenet_tf.nets.graphs import R50_FPN, SPINENET, SPINENET_MOBILE

OUTPUT = BlockSpec(3, "bottleneck", (0, 1), is_output=True)


def _spec(*blocks: BlockSpec, stem: tuple[int, ...] = (2, 2), **kwargs) -> ArchitectureSpec:
    return ArchitectureSpec("mine", stem, blocks, **kwargs)


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ([OUTPUT, BlockSpec(4, "bottleneck", (0, 9))], r"Block 3 reads block 9, which is built later.*\(0, 9\)"),
        ([OUTPUT, BlockSpec(4, "bottleneck", (0, 3))], "Block 3 reads block 3, which is built later"),
        ([OUTPUT, BlockSpec(4, "bottleneck", (-1, 0))], "Block 3 reads block -1, which does not exist"),
        ([OUTPUT, BlockSpec(4, "bottleneck", (0, 1, 2))], "Block 3 needs exactly two parents"),
        ([OUTPUT, BlockSpec(4, "transformer", (0, 1))], "Block 3 has an unknown kind.*bottleneck.*'transformer'"),
        ([OUTPUT, BlockSpec(8, "bottleneck", (0, 1))], "Block 3 has a level without a width.*level=8"),
        ([OUTPUT, BlockSpec(1, "bottleneck", (0, 1))], "Block 3 has a level without a width.*level=1"),
        ([OUTPUT, OUTPUT], "Blocks 2 and 3 are both outputs of level 3"),
        ([BlockSpec(4, "bottleneck", (0, 1))], "No block of 'mine' is an output"),
    ],
)
def test_a_graph_that_cannot_be_built_is_refused_by_the_name_of_its_block(blocks, message):
    with pytest.raises(ValueError, match=message):
        _spec(*blocks)


def test_mbconv_blocks_do_not_mix_with_others():
    mobile = BlockSpec(3, "mbconv", (0, 1), is_output=True)
    with pytest.raises(ValueError, match="Block 3 mixes kinds"):
        _spec(mobile, BlockSpec(4, "residual", (0, 1)), stem=(1, 2))


@pytest.mark.parametrize("stem", [(), (2,), (3, 3), (2, 4), (3, 2), (1, 2)])
def test_a_stem_starts_at_level_2_and_rises_by_at_most_one(stem):
    with pytest.raises(ValueError, match="stem"):
        _spec(OUTPUT, stem=stem)


def test_a_stem_level_needs_a_width():
    with pytest.raises(ValueError, match="node at level 3, which has no width"):
        _spec(BlockSpec(2, "residual", (0, 1), is_output=True), stem=(2, 3), widths={2: 64})


@pytest.mark.parametrize("name", VARIANTS)
def test_a_graph_survives_json(name):
    graph = VARIANTS[name].graph
    assert ArchitectureSpec.from_config(json.loads(json.dumps(graph.get_config()))) == graph


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
    assert (R50_FPN.is_fpn, R50_FPN.output_levels) == (True, (3, 4, 5, 6, 7))
    assert [R50_FPN.stem.count(level) for level in (2, 3, 4, 5)] == [3, 4, 6, 3]


@pytest.mark.parametrize("name", VARIANTS)
def test_published_figures_are_the_detectors_not_placeholders(name):
    row = VARIANTS[name]
    assert row.image_size % 128 == 0
    published = "swish" if row.kind == "mobile" else "relu"
    assert row.activation == ("relu6" if name.endswith("_lite") else published)
    assert row.published.ap or row.published.note, "a variant without an accuracy says why"
