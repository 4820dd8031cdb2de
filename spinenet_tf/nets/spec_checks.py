"""Check that a graph can be built; errors name the block."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spinenet_tf.nets.specs import ArchitectureSpec, BlockSpec

MBCONV_KINDS = ("mbconv", "fused_mbconv")  # only these have squeeze-and-excitation
BLOCK_KINDS = ("bottleneck", "residual", *MBCONV_KINDS)
CHOICES = {
    "stem_conv": ("resnet", "mobile"),
    "stem_block": BLOCK_KINDS,
    "resampling": ("alpha", "depthwise"),
    "fusion": ("blocks", "fpn", "deconv"),
}
MAX_NAME = 100
_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9_.-]{{0,{MAX_NAME - 1}}}")  # valid as TensorFlow scope and as file name
MIN_LEVEL, MAX_LEVEL = 1, 7  # of a block
FPN_LEVELS = (3, 4, 5)  # the levels of the stem that an FPN reads
# Far above sensible values: an untrusted file must not exhaust the memory.
MAX_WIDTH = 1 << 16
MAX_EXPANSION = 64
MAX_REPEATS = 100


def check_spec(spec: ArchitectureSpec) -> None:
    """Check a whole graph.

    Raises:
        ValueError: the graph cannot be built.
    """
    check_name(spec.name)
    for name, valid in CHOICES.items():
        if getattr(spec, name) not in valid:
            raise ValueError(f"`{name}` must be one of {valid}. Received: {name}={getattr(spec, name)!r}")
    _check_widths(spec)
    _check_stem(spec)
    if not isinstance(spec.blocks, tuple):
        raise ValueError(f"`blocks` must be a tuple (a list in YAML). Received: blocks={spec.blocks!r}")
    for node, block in enumerate(spec.blocks, start=len(spec.stem)):
        _check_block(spec, node, block)
        _check_parents(node, block)
    _check_outputs(spec)


def check_name(name: Any) -> None:
    """Check the name of a graph or a model.

    Raises:
        ValueError: the name is not valid as a TensorFlow scope and as a file name.
    """
    if isinstance(name, str) and _NAME.fullmatch(name):
        return
    valid = re.sub(r"[^A-Za-z0-9_.-]+", "_", name).lstrip("_.-")[:MAX_NAME] if isinstance(name, str) else ""
    raise ValueError(
        f"A name must have at most {MAX_NAME} characters of A-Z, a-z, 0-9, '_', '.' and '-', and start with a letter "
        f"or a digit, like {valid or 'my_graph'!r}. Received: name={name!r:.100}"
    )


def _check_widths(spec: ArchitectureSpec) -> None:
    if not isinstance(spec.widths, Mapping) or not all(
        _is_whole(level, 0, MAX_LEVEL) and _is_whole(width, 1, MAX_WIDTH) for level, width in spec.widths.items()
    ):
        raise ValueError(
            f"`widths` must map levels 0..{MAX_LEVEL} to whole numbers 1..{MAX_WIDTH}. Received: widths={spec.widths!r}"
        )
    if spec.round_to is not None and not _is_whole(spec.round_to, 1, MAX_WIDTH):
        raise ValueError(f"`round_to` must be a whole number 1..{MAX_WIDTH}. Received: round_to={spec.round_to!r}")


def _check_stem(spec: ArchitectureSpec) -> None:
    first = 1 if spec.stem_conv == "mobile" else 2
    levels = spec.stem if isinstance(spec.stem, tuple) and all(_is_whole(level) for level in spec.stem) else ()
    steps = [after - before for before, after in pairwise(levels)]
    if len(levels) < 2 or levels[0] != first or any(step not in (0, 1) for step in steps):
        raise ValueError(
            f"`stem` must have two or more levels from {first} on that rise by at most 1. Received: stem={spec.stem}"
        )
    for level in levels:
        if level not in spec.widths:
            raise ValueError(f"`widths` has no level {level}, which the stem uses. Received: widths={spec.widths}")
    if spec.stem_conv == "mobile" and 0 not in spec.widths:
        raise ValueError(f"`widths` has no level 0, which a mobile stem uses. Received: widths={spec.widths}")


def _check_block(spec: ArchitectureSpec, node: int, block: BlockSpec) -> None:
    if not hasattr(block, "kind"):
        raise ValueError(f"Block {node} is not a BlockSpec. Received: {block!r:.100}")
    if block.kind not in BLOCK_KINDS:
        raise ValueError(f"Block {node} has an unknown kind; valid are {BLOCK_KINDS}. Received: kind={block.kind!r}")
    levels = [level for level in range(MIN_LEVEL, MAX_LEVEL + 1) if block.width is not None or level in spec.widths]
    if not _is_whole(block.level) or block.level not in levels:
        raise ValueError(
            f"Block {node} has a level without a width; valid are {levels}. Received: level={block.level!r}"
        )
    if not isinstance(block.is_output, bool):
        raise ValueError(f"`is_output` of block {node} must be true or false. Received: is_output={block.is_output!r}")
    if block.width is not None and not _is_whole(block.width, 1, MAX_WIDTH):
        raise ValueError(f"The width of block {node} must be 1..{MAX_WIDTH}. Received: width={block.width!r}")
    if block.expansion is not None and not is_expansion(block.kind, block.expansion):
        valid = f"1..{MAX_EXPANSION} or None, and None for kind residual"
        received = f"kind={block.kind!r}, expansion={block.expansion!r}"
        raise ValueError(f"The expansion of block {node} must be {valid}. Received: {received}")
    if not _is_whole(block.repeats, 1, MAX_REPEATS):
        raise ValueError(f"The repeats of block {node} must be 1..{MAX_REPEATS}. Received: repeats={block.repeats!r}")


def _check_parents(node: int, block: BlockSpec) -> None:
    parents = block.parents
    if not isinstance(parents, tuple) or len(parents) not in (1, 2) or not all(map(_is_whole, parents)):
        raise ValueError(f"Block {node} needs one or two parents: numbers of nodes. Received: parents={parents!r}")
    for parent in parents:
        if parent >= node:
            raise ValueError(f"Block {node} reads block {parent}, which is built later. Received: {parents}")
        if parent < 0:
            raise ValueError(f"Block {node} reads block {parent}, which does not exist. Received: {parents}")
    if len(set(parents)) < len(parents):
        raise ValueError(f"Block {node} reads block {parents[0]} twice; two parents must differ. Received: {parents}")


def _check_outputs(spec: ArchitectureSpec) -> None:
    if spec.fusion != "blocks":
        _check_pyramid_of_a_stem(spec)
        return
    seen: dict[int, int] = {}
    for node, block in enumerate(spec.blocks, start=len(spec.stem)):
        if not block.is_output:
            continue
        if block.level in seen:
            raise ValueError(f"Blocks {seen[block.level]} and {node} are both outputs of level {block.level}.")
        seen[block.level] = node
    if not seen:
        raise ValueError(f"No block of {spec.name!r} is an output: set is_output=True on one block per level.")


def _check_pyramid_of_a_stem(spec: ArchitectureSpec) -> None:
    if spec.blocks:
        raise ValueError(
            f"Only fusion 'blocks' can have blocks. Received: fusion={spec.fusion!r}, {len(spec.blocks)} blocks"
        )
    if spec.fusion == "deconv" and max(spec.stem) < 3:
        raise ValueError(f"Fusion 'deconv' needs a stem that ends at level 3 or coarser. Received: stem={spec.stem}")
    if spec.fusion == "fpn" and not set(FPN_LEVELS) <= set(spec.stem):
        raise ValueError(f"Fusion 'fpn' needs a stem with the levels {FPN_LEVELS}. Received: stem={spec.stem}")


def _is_whole(value: Any, least: float = float("-inf"), most: float = float("inf")) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def is_expansion(kind: str, value: Any) -> bool:
    """Return whether blocks of this kind can have the value as their expansion."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and kind != "residual" and 1 <= value <= MAX_EXPANSION
