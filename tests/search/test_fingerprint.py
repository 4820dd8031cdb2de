"""A fingerprint is equal for graphs that differ only in the numbers of their nodes, and different for all others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spinenet_tf.nets.family import VARIANTS
from spinenet_tf.nets.graphs import R0_SP53, SPINENET, SPINENET_MOBILE
from spinenet_tf.nets.specs import ArchitectureSpec, BlockSpec
from spinenet_tf.nets.wiring import dangling
from spinenet_tf.search.fingerprint import fingerprint


def graph(*blocks: tuple) -> ArchitectureSpec:
    """Return a graph of rows `(level, parent, parent)`; the last block is its output."""
    last = len(blocks) - 1
    return ArchitectureSpec(
        "graph",
        (2, 2),
        tuple(BlockSpec(row[0], "bottleneck", row[1:3], index == last) for index, row in enumerate(blocks)),
    )


def renumbered(spec: ArchitectureSpec, random: np.random.Generator) -> ArchitectureSpec:
    """Return the same graph with its blocks in a random order, in which each one still follows its parents."""
    joined, stem = dangling(spec), len(spec.stem)
    needs = {node: {*block.parents, *joined.get(node, ())} for node, block in enumerate(spec.blocks, start=stem)}
    order = list(range(stem))
    while len(order) < stem + len(spec.blocks):
        ready = [node for node, before in needs.items() if node not in order and before <= set(order)]
        order.append(int(random.choice(ready)))
    blocks = [spec.blocks[node - stem] for node in order[stem:]]
    return replace(
        spec,
        name="renumbered",
        blocks=tuple(
            replace(block, parents=tuple(random.permutation([order.index(one) for one in block.parents]).tolist()))
            for block in blocks
        ),
    )


@pytest.mark.parametrize("spec", [SPINENET, R0_SP53], ids=lambda spec: spec.name)
def test_another_order_of_the_blocks_has_the_same_fingerprint(spec):
    random, found = np.random.default_rng(0), []
    for other in (renumbered(spec, random) for _ in range(20)):
        found.append(other.blocks)
        assert fingerprint(other) == fingerprint(spec)
    assert len(set(found)) > 10


def test_graphs_of_the_family_differ():
    graphs = {variant.graph.name: variant.graph for variant in VARIANTS.values()}
    assert len({fingerprint(spec) for spec in graphs.values()}) == len(graphs) > 4


def test_every_change_of_a_block_shows():
    block = SPINENET.blocks[0]
    changes = ({"level": 3}, {"kind": "residual"}, {"width": 96}, {"expansion": 2.0}, {"repeats": 2})
    others = [replace(SPINENET, blocks=(replace(block, **change), *SPINENET.blocks[1:])) for change in changes]
    others += [replace(SPINENET, resampling="depthwise"), replace(SPINENET, round_to=8)]
    assert len({fingerprint(spec) for spec in (SPINENET, *others)}) == 1 + len(others)


def test_a_name_and_an_expansion_that_is_the_default_do_not_show():
    block = replace(SPINENET.blocks[0], expansion=4.0, width=64)
    assert fingerprint(replace(SPINENET, name="other", blocks=(block, *SPINENET.blocks[1:]))) == fingerprint(SPINENET)


@pytest.mark.parametrize(("kind", "default", "other"), [("mbconv", 6, 4), ("fused_mbconv", 4, 6)])
def test_each_kind_has_its_own_default_expansion(kind, default, other):
    first, *blocks = SPINENET_MOBILE.blocks
    made = [
        replace(SPINENET_MOBILE, blocks=(replace(first, kind=kind, expansion=expansion), *blocks))
        for expansion in (None, default, other)
    ]
    assert fingerprint(made[0]) == fingerprint(made[1]) != fingerprint(made[2])


def test_equal_blocks_are_told_apart_by_what_reads_them():
    """Nodes 2 and 3 are alike, and so are 4 and 5: only their readers tell the two graphs apart."""
    pairs = [(3, 0, 1), (3, 0, 1)]
    straight = graph(*pairs, (4, 1, 2), (4, 1, 3), (5, 2, 4), (6, 3, 5), (7, 6, 7))
    crossed = graph(*pairs, (4, 1, 2), (4, 1, 3), (5, 3, 4), (6, 2, 5), (7, 6, 7))
    swapped = graph(*pairs, (4, 1, 3), (4, 1, 2), (5, 3, 4), (6, 2, 5), (7, 6, 7))
    assert fingerprint(straight) == fingerprint(swapped) != fingerprint(crossed)


def rings(*sizes: int) -> ArchitectureSpec:
    """Return a graph with L3 blocks in rings: an L4 block reads each pair of neighbors, and the output adds all."""
    count, pairs = sum(sizes), []
    for size in sizes:
        first = 2 + len(pairs)
        pairs += [(4, first + place, first + (place + 1) % size) for place in range(size)]
    return graph(*[(3, 0, 1)] * count, *pairs, (4, 0, 1))


def test_rings_differ_although_all_nodes_have_the_same_neighbors():
    assert fingerprint(rings(6)) != fingerprint(rings(3, 3))
    random = np.random.default_rng(0)
    assert len({fingerprint(renumbered(rings(3, 4), random)) for _ in range(10)}) == 1


def test_many_interchangeable_blocks_take_no_time():
    """All of them join the output, and nothing tells them apart; trying 12! numberings would not end."""
    assert len(fingerprint(graph(*[(3, 0, 1)] * 13))) == 32
