"""Check that a space is valid, and that values and graphs belong to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from spinenet_tf._files.messages import some_of
from spinenet_tf.nets.spec_checks import BLOCK_KINDS, is_expansion
from spinenet_tf.nets.specs import ArchitectureSpec, BlockSpec

if TYPE_CHECKING:
    from spinenet_tf.search.space import SearchSpace


def check_space(space: SearchSpace) -> None:
    """Check the fields of a space.

    Raises:
        ValueError: a field is invalid; the message names it.
    """
    for name in ("intermediates", "outputs", "offsets"):
        numbers = getattr(space, name)
        if not isinstance(numbers, tuple) or not numbers or not all(map(_is_whole, numbers)):
            raise ValueError(f"`{name}` must be a tuple of whole numbers. Received: {name}={numbers!r:.100}")
    if not isinstance(space.kinds, tuple) or not space.kinds or not all(map(_is_kind, space.kinds)):
        valid = f"some of {BLOCK_KINDS}, or pairs of one and an expansion"
        raise ValueError(f"`kinds` must be {valid}. Received: kinds={space.kinds!r:.100}")
    for name in ("kinds", "outputs"):
        if len(set(getattr(space, name))) < len(getattr(space, name)):
            raise ValueError(f"`{name}` must be distinct. Received: {name}={getattr(space, name)}")
    if space.offsets != tuple(range(space.offsets[0], space.offsets[0] + len(space.offsets))):
        raise ValueError(f"`offsets` must be consecutive and ascending. Received: offsets={space.offsets}")
    if not _is_whole(space.window) or space.window < 2:
        raise ValueError(f"`window` must be at least 2: a block has two parents. Received: window={space.window!r}")
    _check_levels(space)


def _check_levels(space: SearchSpace) -> None:
    if not isinstance(space.template, ArchitectureSpec) or space.template.fusion != "blocks":
        raise ValueError(f"`template` must be a graph with blocks. Received: template={space.template!r:.100}")
    valid = [level for level in space.template.widths if level >= 1]
    found = {level + offset for level in space.intermediates for offset in space.offsets} | set(space.outputs)
    if not found <= set(valid):
        raise ValueError(f"Levels plus offsets must be in {valid}, which have a width. Received: {sorted(found)}")


def check_values(space: SearchSpace, values: Mapping[str, int]) -> None:
    """Check that there is a valid value of every parameter, and no other value.

    Raises:
        ValueError: a value is missing, unknown or out of range.
    """
    limits = space.parameters()
    if values.keys() != limits.keys():
        differ = some_of(sorted(values.keys() ^ limits.keys()))
        raise ValueError(f"Values must be those of the parameters of space {space.name!r}. Received: other {differ}")
    for name, limit in limits.items():
        if not _is_whole(values[name]) or not 0 <= values[name] < limit:
            raise ValueError(f"`{name}` must be a whole number 0..{limit - 1}. Received: {name}={values[name]!r}")


def check_graph(space: SearchSpace, spec: ArchitectureSpec) -> tuple[BlockSpec, ...]:
    """Return the blocks of a graph that has the stem, the widths and the number of blocks of the space's graphs.

    Last blocks that are outputs of levels which the space does not have are left out.

    Raises:
        ValueError: the graph has other ones, or blocks with own widths or repeats.
    """
    blocks, count = spec.blocks, len(space.intermediates) + len(space.outputs)
    while len(blocks) > count and blocks[-1].is_output and blocks[-1].level not in space.outputs:
        blocks = blocks[:-1]
    if replace(spec, name=space.template.name, blocks=space.template.blocks) != space.template:
        message = f"Graphs of space {space.name!r} have another stem, other widths or another resampling."
        raise ValueError(f"{message} Received: {spec.name}")
    if [block.is_output for block in blocks] != [place >= len(space.intermediates) for place in range(count)]:
        valid = f"{len(space.intermediates)} blocks and then {len(space.outputs)} outputs"
        received = f"{spec.name} with {len(blocks)} blocks"
        raise ValueError(f"Graphs of space {space.name!r} have {valid}. Received: {received}")
    if own := [block for block in blocks if (block.width, block.repeats) != (None, 1)]:
        raise ValueError(f"Blocks in a space have no own width or repeats. Received: {own[0]}")
    return blocks


def _is_kind(value: Any) -> bool:
    if isinstance(value, tuple) and len(value) == 2:
        kind, expansion = value
        return kind in BLOCK_KINDS and is_expansion(kind, expansion)
    return value in BLOCK_KINDS


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
