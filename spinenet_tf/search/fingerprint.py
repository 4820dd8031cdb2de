"""A text for each graph that does not depend on its name or on the numbers of its nodes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any

from spinenet_tf.nets.blocks import EXPANSIONS
from spinenet_tf.nets.specs import ArchitectureSpec
from spinenet_tf.nets.wiring import STEM, Edge, Node, wiring

_DIGITS = 32

Colors = Mapping[int, int]  # of the nodes; nodes of one color have not been told apart


def fingerprint(spec: ArchitectureSpec) -> str:
    """Return 32 hexadecimal digits that two graphs share if one becomes the other when its nodes are renumbered.

    Blocks that no output needs do not count, as in the drawing and in the net. The seed of a training still draws other
    weights for the same graph in another order.
    """
    nodes, edges = wiring(spec, spec.output_levels)
    labels = {node.number: _label(spec, node) for node in nodes}
    ranks = {label: rank for rank, label in enumerate(sorted(set(labels.values())))}
    numbering = _canonical({number: ranks[label] for number, label in labels.items()}, edges)
    stem_width = spec.widths[0] if spec.stem_conv == "mobile" else None
    fixed = [spec.stem_conv, stem_width, spec.resampling, spec.fusion, spec.round_to]
    text = json.dumps([fixed, sorted(labels.values()), numbering])
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def _label(spec: ArchitectureSpec, node: Node) -> tuple:
    """Return what distinguishes a node by itself."""
    place = node.number - len(spec.stem)
    own: tuple[Any, ...] = ()
    if place < 0:
        own = (spec.widths[node.level],)
    elif place < len(spec.blocks):
        block = spec.blocks[place]
        expansion = float(block.expansion or EXPANSIONS.get(block.kind, 1))
        own = (block.width or spec.widths[block.level], expansion, block.repeats)
    return (node.part != STEM, node.level, node.kind, node.channels, node.is_output, *own)


def _canonical(colors: Colors, edges: Iterable[Edge]) -> list[tuple[int, int, bool]]:
    """Return the edges in a numbering of the nodes that does not depend on the given one.

    Nodes that their neighbors do not tell apart are numbered in every way; the smallest list of edges wins.
    """
    colors = _refined(colors, edges)
    by_color = groupby(sorted(colors, key=lambda node: (colors[node], node)), key=lambda node: colors[node])
    tied = next((cell for _, group in by_color if len(cell := list(group)) > 1), None)
    if tied is None:
        return sorted((colors[edge.source], colors[edge.target], edge.dangles) for edge in edges)
    doubled = {node: 2 * color for node, color in colors.items()}
    return min(_canonical(doubled | {node: doubled[node] - 1}, edges) for node in _one_of_each(tied, edges))


def _refined(colors: Colors, edges: Iterable[Edge]) -> Colors:
    """Split the colors until the nodes of a color have neighbors of the same colors; the order of colors is kept."""
    while True:
        reads: dict[int, list] = {node: [] for node in colors}
        is_read: dict[int, list] = {node: [] for node in colors}
        for edge in edges:
            reads[edge.target].append((colors[edge.source], edge.dangles))
            is_read[edge.source].append((colors[edge.target], edge.dangles))
        seen = {node: (colors[node], tuple(sorted(reads[node])), tuple(sorted(is_read[node]))) for node in colors}
        ranks = {sight: rank for rank, sight in enumerate(sorted(set(seen.values())))}
        if len(ranks) == len(set(colors.values())):
            return {node: ranks[seen[node]] for node in colors}
        colors = {node: ranks[seen[node]] for node in colors}


def _one_of_each(nodes: Iterable[int], edges: Iterable[Edge]) -> Iterable[int]:
    """Leave out nodes with the very neighbors of another one: they can change places."""
    return {
        frozenset(
            (edge.target if edge.source == node else edge.source, edge.source == node, edge.dangles)
            for edge in edges
            if node in (edge.source, edge.target)
        ): node
        for node in nodes
    }.values()
