"""Each block of a damaged graph keeps the parent that the ablation leaves it."""

from __future__ import annotations

from spinenet_tf.nets.graphs import R0_SP53
from spinenet_tf.nets.specs import ArchitectureSpec
from spinenet_tf.nets.wiring import dangling, wiring
from spinenet_tf.search.damage import as_chain, without_long_edges, without_short_edges


def kept(spec: ArchitectureSpec) -> list[int]:
    """Return the only parent of each block, and check that nothing else changed."""
    for block, whole in zip(spec.blocks, R0_SP53.blocks, strict=True):
        assert (block.level, block.kind, block.is_output) == (whole.level, whole.kind, whole.is_output)
    return [parent for (parent,) in (block.parents for block in spec.blocks)]


def numbers(spec: ArchitectureSpec) -> list[int]:
    """Return the nodes that an output needs."""
    return [node.number for node in wiring(spec, spec.output_levels)[0]]


def test_without_short_edges_each_block_reads_its_farther_parent() -> None:
    spec = without_short_edges(R0_SP53)
    assert kept(spec) == [0, 0, 2, 2, 3, 5, 4, 4, 8, 8, 4, 6, 8, 6, 7]
    # The blocks that nobody reads any more join the output of their level.
    assert dangling(spec)[13] == (9, 10, 11)
    assert set(range(17)) - set(numbers(spec)) == {1}


def test_without_long_edges_each_block_reads_its_nearer_parent() -> None:
    spec = without_long_edges(R0_SP53)
    assert kept(spec) == [1, 1, 3, 4, 5, 6, 7, 8, 9, 10, 10, 7, 13, 9, 9]
    assert dangling(spec)[13] == (11,)
    assert set(range(17)) - set(numbers(spec)) == {2}


def test_in_a_chain_each_block_reads_the_one_before_it() -> None:
    spec = as_chain(R0_SP53)
    assert kept(spec) == list(range(1, 16))
    assert not any(dangling(spec).values())
    assert numbers(spec) == list(range(17))
