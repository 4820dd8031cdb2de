"""Remove connections of a graph: each block keeps one parent, as in an ablation of the paper."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from spinenet_tf.nets.specs import ArchitectureSpec

Keep = Callable[[int, tuple[int, ...]], int]  # (number of a block, its parents) -> the parent that it keeps


def without_short_edges(spec: ArchitectureSpec) -> ArchitectureSpec:
    """Return the graph in which each block reads only the parent that is farther from it in the order."""
    return _damaged(spec, "without_short_edges", lambda node, parents: min(parents))


def without_long_edges(spec: ArchitectureSpec) -> ArchitectureSpec:
    """Return the graph in which each block reads only the parent that is nearer to it in the order."""
    return _damaged(spec, "without_long_edges", lambda node, parents: max(parents))


def as_chain(spec: ArchitectureSpec) -> ArchitectureSpec:
    """Return the graph in which each block reads only the block before it."""
    return _damaged(spec, "as_chain", lambda node, parents: node - 1)


def _damaged(spec: ArchitectureSpec, name: str, keep: Keep) -> ArchitectureSpec:
    blocks = enumerate(spec.blocks, start=len(spec.stem))
    kept = tuple(replace(block, parents=(keep(node, block.parents),)) for node, block in blocks)
    return replace(spec, name=f"{spec.name}_{name}", blocks=kept)
