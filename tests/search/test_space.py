"""A space decodes its values to graphs and back, rejects graphs with lost blocks, and counts what it has."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_space import ALL_VALUES, SMALL

from spinenet_tf.models import backbone
from spinenet_tf.nets.graphs import R0_SP53, R23_SP30, SPINENET, SPINENET_MOBILE
from spinenet_tf.nets.wiring import dangling
from spinenet_tf.search.samplers.base import accepts, draw_uniformly
from spinenet_tf.search.space import Choice, RejectedArchitecture
from spinenet_tf.search.spaces import SPACES

PAPER = SPACES["spinenet"]


def in_space(spec, space):
    """Return whether a space has a graph."""
    try:
        space.encode(spec)
    except ValueError:
        return False
    return True


def test_the_space_of_the_paper_has_its_size():
    assert PAPER.permutations() == 435_456_000
    assert PAPER.level_orders() == 604_800
    parents = 1 * 3 * 6 * 10**7 * 66 * 78 * 91 * 105 * 120
    assert PAPER.size() == 435_456_000 * parents * 4**10 * 2**15


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("spinenet", "1.6e+37"),
        ("r0_sp53", "4.6e+26"),
        ("vertex_spinenet", "4.8e+38"),
        ("vertex_spinenet_v2", "7.6e+29"),
        ("vertex_spinenet_mbconv", "7.4e+33"),
    ],
)
def test_sizes_are_those_of_the_published_spaces(name, size):
    assert f"{SPACES[name].size():.1e}" == size


@pytest.mark.parametrize(
    ("spec", "spaces"),
    [
        (SPINENET, {"spinenet"}),
        (R0_SP53, {"spinenet", "r0_sp53"}),
        (R23_SP30, {"r23_sp30"}),
        (SPINENET_MOBILE, {"vertex_spinenet_mbconv", "phone"}),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_published_graphs_are_in_the_spaces_that_found_them(spec, spaces):
    assert {name for name, space in SPACES.items() if in_space(spec, space)} == spaces
    for name in spaces:
        decoded = SPACES[name].decode(SPACES[name].encode(spec))
        blocks = [block for block in spec.blocks if block.level in decoded.output_levels or not block.is_output]
        assert list(decoded.blocks) == blocks
        assert replace(decoded, name=spec.name, blocks=spec.blocks) == spec


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_a_graph_is_encoded_by_values_that_decode_to_it(space):
    random = np.random.default_rng(0)
    drawn = (draw_uniformly(space, random) for _ in range(60))
    graphs = [space.decode(values) for values in drawn if accepts(space, values)]
    assert len(graphs) > 5
    for spec in graphs:
        assert space.decode(space.encode(spec)) == spec
        assert len(set(spec.blocks[-1].parents)) == 2


def test_a_kind_of_a_space_may_have_an_expansion():
    space = replace(PAPER, kinds=(*PAPER.kinds, ("bottleneck", 2)))
    values = space.encode(SPINENET) | {"node16_kind": 2}
    spec = space.decode(values)
    assert [block.expansion for block in spec.blocks] == [None] * 14 + [2]
    assert space.encode(spec) == values


def test_a_drawn_graph_is_built_as_a_net():
    random = np.random.default_rng(1)
    values = next(values for values in (draw_uniformly(PAPER, random) for _ in range(99)) if accepts(PAPER, values))
    net = backbone(PAPER.decode(values), (64, 64, 3), width=0.25, endpoint=8)
    assert list(net.pyramid_levels) == [3, 4, 5, 6, 7]
    built = {layer.name.partition("_")[0] for layer in net.layers}
    assert {f"block{node}" for node in range(2, 17)} <= built, "no block is lost"


def test_a_block_that_no_output_needs_is_rejected():
    """Node 3 is not read. As an L3 block it joins the output, but not as an L4 block."""
    first, second = Choice(3, (0, 1), 0, "bottleneck"), Choice(4, (1, 2), 0, "bottleneck")
    reads_both, reads_first = (Choice(3, parents, 0, "bottleneck") for parents in ((2, 3), (0, 2)))
    assert [block.level for block in SMALL.build([first, second, reads_both]).blocks] == [3, 4, 3]
    with pytest.raises(RejectedArchitecture, match=r"No output needs one or more blocks\. Received: 3"):
        SMALL.build([first, second, reads_first])
    exchanged = SMALL.build([first._replace(level=4), second._replace(level=3), reads_first])
    assert dangling(exchanged) == {4: (3,)}


def test_decisions_of_one_choice_are_no_parameters():
    assert SMALL.parameters() == {
        "node2_order": 2, "node2_offset": 2, "node3_parents": 3, "node3_offset": 2, "node4_parents": 6
    }  # fmt: skip
    assert SMALL.size() == 144


def test_every_combination_of_a_small_space_is_a_graph_or_rejected():
    assert len(ALL_VALUES) == SMALL.size()
    assert 0 < sum(accepts(SMALL, values) for values in ALL_VALUES) < len(ALL_VALUES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"node3_parents": 3}, r"`node3_parents` must be a whole number 0\.\.2\. Received: node3_parents=3"),
        ({"node3_parents": -1}, r"Received: node3_parents=-1"),
        ({"node3_parents": True}, r"Received: node3_parents=True"),
        ({"node9_kind": 0}, r"those of the parameters of space 'small'. Received: other node9_kind"),
    ],
)
def test_invalid_values_are_refused(change, message):
    values = dict.fromkeys(SMALL.parameters(), 0) | change
    with pytest.raises(ValueError, match=message) as caught:
        SMALL.decode(values)
    assert not isinstance(caught.value, RejectedArchitecture)


def changed(place, **fields):
    """Return SpineNet with other fields of one block."""
    blocks = list(SPINENET.blocks)
    blocks[place] = replace(blocks[place], **fields)
    return replace(SPINENET, blocks=tuple(blocks))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (SPINENET_MOBILE, "another stem"),
        (replace(SPINENET, blocks=SPINENET.blocks[:12]), "10 blocks and then 5 outputs"),
        (changed(0, repeats=2), "no own width"),
        (changed(0, expansion=2), r"`node2_kind` must be one of .*\. Received: \('bottleneck', 2\)"),
        (changed(14, kind="mbconv"), r"`node16_kind` must be one of bottleneck, residual\. Received: mbconv"),
        (changed(9, parents=(0, 9)), r"`node11_parents` must be one of .*\. Received: \(0, 9\)"),
        (changed(9, parents=(9,)), r"`node11_parents` must be one of .*\. Received: \(9,\)"),
    ],
)
def test_graphs_outside_the_space_are_refused(spec, message):
    with pytest.raises(ValueError, match=message):
        PAPER.encode(spec)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"offsets": (0, 2)}, "`offsets` must be consecutive"),
        ({"offsets": (0, 1, 2, 3)}, r"must be in \[1, 2, 3, 4, 5, 6, 7\].* Received: \[2, 3, 4, 5, 6, 7, 8\]"),
        ({"kinds": ("conv",)}, "`kinds` must be some of"),
        ({"kinds": (("bottleneck", 0.5),)}, "`kinds` must be some of .* pairs of one and an expansion"),
        ({"kinds": (("residual", 2),)}, "`kinds` must be some of .* pairs of one and an expansion"),
        ({"kinds": (("residual",),)}, "`kinds` must be some of .* pairs of one and an expansion"),
        ({"kinds": ("residual", "residual")}, "`kinds` must be distinct"),
        ({"window": 1}, "`window` must be at least 2"),
        ({"intermediates": (2, "3")}, "`intermediates` must be a tuple of whole numbers"),
        ({"template": None}, "`template` must be a graph"),
    ],
)
def test_invalid_spaces_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        replace(PAPER, **fields)
