"""List the nodes and connections of a graph: what a drawing shows, and which unread nodes join an output."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from spinenet_tf.nets.blocks import block_channels
from spinenet_tf.nets.spec_checks import FPN_LEVELS
from spinenet_tf.nets.specs import ArchitectureSpec

STEM, BLOCK, PYRAMID = "stem", "block", "pyramid"


@dataclass(frozen=True)
class Node:
    """A node of a graph: one block, or in a pyramid that follows a ResNet, the convs of one level."""

    number: int
    level: int
    kind: str  # that of the block; in a pyramid "conv" or "deconv"
    channels: int  # of its output
    part: str  # `STEM`, `BLOCK` or `PYRAMID`
    is_output: bool = False


@dataclass(frozen=True)
class Edge:
    """A connection from the node `source` to the node `target`."""

    source: int
    target: int
    dangles: bool = False  # the target is an output, which adds a node that no block reads


def dangling(spec: ArchitectureSpec, width: float = 1.0) -> dict[int, tuple[int, ...]]:
    """Return, for each output block, the earlier nodes of its level and channels that no earlier node has read.

    Each of them is added to the output, and then counts as read. A node of the stem counts as read by the next one.
    `width` is the width multiplier.
    """
    nodes = list(block_nodes(spec, width))
    was_read, found = set(range(len(spec.stem) - 1)), {}
    for node, block in enumerate(spec.blocks, start=len(spec.stem)):
        was_read.update(block.parents)
        if block.is_output:
            unread = [other for other in nodes[:node] if other.number not in was_read]
            found[node] = tuple(other.number for other in unread if _shape(other) == _shape(nodes[node]))
            was_read.update(found[node])
    return found


def _shape(node: Node) -> tuple[int, int]:
    return node.level, node.channels


def block_nodes(spec: ArchitectureSpec, width: float = 1.0) -> Iterator[Node]:
    """Yield the nodes of the stem and of the blocks, with their channels for a width multiplier."""
    for number, level in enumerate(spec.stem):
        channels = block_channels(spec.stem_block, spec.scaled(spec.widths[level], width))
        yield Node(number, level, spec.stem_block, channels, STEM)
    for number, block in enumerate(spec.blocks, start=len(spec.stem)):
        inner = spec.scaled(block.width or spec.widths[block.level], width)
        channels = block_channels(block.kind, inner, block.expansion)
        yield Node(number, block.level, block.kind, channels, BLOCK, block.is_output)


def wiring(
    spec: ArchitectureSpec, levels: Sequence[int], width: float = 1.0, endpoint: int = 256
) -> tuple[list[Node], list[Edge]]:
    """Return the nodes and connections that the outputs of some levels need.

    `width` is the width multiplier, `endpoint` the number of channels of a pyramid's outputs.
    """
    nodes = list(block_nodes(spec, width))
    edges = [Edge(first, second) for first, second in pairwise(range(len(spec.stem)))]
    for node, block in enumerate(spec.blocks, start=len(spec.stem)):
        edges += [Edge(parent, node) for parent in block.parents]
    edges += [Edge(other, node, True) for node, others in dangling(spec, width).items() for other in others]
    if spec.fusion != "blocks":
        more_nodes, more_edges = _PYRAMIDS[spec.fusion](spec, endpoint)
        nodes, edges = nodes + more_nodes, edges + more_edges
    return _needed(nodes, edges, levels)


def _needed(nodes: list[Node], edges: list[Edge], levels: Sequence[int]) -> tuple[list[Node], list[Edge]]:
    kept = {node.number for node in nodes if node.is_output and node.level in levels}
    for edge in sorted(edges, key=lambda edge: edge.target, reverse=True):  # every reader before what it reads
        kept |= {edge.source} if edge.target in kept else set()
    return [node for node in nodes if node.number in kept], [edge for edge in edges if edge.target in kept]


def _fpn(spec: ArchitectureSpec, endpoint: int) -> tuple[list[Node], list[Edge]]:
    """Return an FPN: P5, P4 and P3 read the last stem node of their level and the level above, P6 and P7 that below."""
    above = [level for level in spec.output_levels if level > FPN_LEVELS[-1]]
    number = {level: len(spec.stem) + position for position, level in enumerate([*reversed(FPN_LEVELS), *above])}
    last = {level: node for node, level in enumerate(spec.stem)}
    edges = [Edge(last[level], number[level]) for level in FPN_LEVELS]
    edges += [Edge(number[level + 1], number[level]) for level in FPN_LEVELS[:-1]]
    edges += [Edge(number[level - 1], number[level]) for level in above]
    return [Node(node, level, "conv", endpoint, PYRAMID, True) for level, node in number.items()], edges


def _deconv(spec: ArchitectureSpec, endpoint: int) -> tuple[list[Node], list[Edge]]:
    """Return one transposed conv per octave, from the last level of the stem to the output."""
    first, (top,) = len(spec.stem), spec.output_levels
    levels = enumerate(range(spec.stem[-1] - 1, top - 1, -1), start=first)
    nodes = [
        Node(number, level, "deconv", endpoint * 2 ** (level - top), PYRAMID, level == top) for number, level in levels
    ]
    return nodes, [Edge(node.number - 1, node.number) for node in nodes]


_PYRAMIDS = {"fpn": _fpn, "deconv": _deconv}
