"""Architectures as data: the means to write a graph.

A graph is a list of `BlockSpec`s: `graphs.py` has the published ones, `backbone.py` only walks it, and `family.py`
scales it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

BLOCK_KINDS = ("bottleneck", "residual", "mbconv")
MAX_LEVEL = 7

# Width of a block's 3x3 conv by level, before the width multiplier (paper, section 3.2).
STANDARD_WIDTHS = {1: 32, 2: 64, 3: 128, 4: 256, 5: 256, 6: 256, 7: 256}


@dataclass(frozen=True)
class BlockSpec:
    """One scale-permuted block: its level, its kind and the two earlier nodes that it reads.

    Nodes are numbered from 0, the stem's first. A node at level L has stride 2^L.
    """

    level: int
    kind: str
    parents: tuple[int, int]
    is_output: bool = False


@dataclass(frozen=True)
class ArchitectureSpec:
    """A stem of chained nodes, then scale-permuted blocks (none: a plain ResNet, which gets an FPN).

    `stem` holds the level of each stem node. `widths` gives the width of the 3x3 conv by level, before the multiplier.

    Raises:
        ValueError: the graph cannot be built; the message names the block.
    """

    name: str
    stem: tuple[int, ...]
    blocks: tuple[BlockSpec, ...]
    widths: Mapping[int, int] = field(default_factory=lambda: dict(STANDARD_WIDTHS))

    def __post_init__(self) -> None:
        _validate_stem(self)
        for node, block in enumerate(self.blocks, start=len(self.stem)):
            _validate_block(self, node, block)
        _validate_outputs(self)

    @property
    def is_mobile(self) -> bool:
        """Whether the net is made of MBConv blocks, which also resample without the factor alpha."""
        return any(block.kind == "mbconv" for block in self.blocks)

    @property
    def is_fpn(self) -> bool:
        """Whether the net is a plain ResNet whose pyramid comes from an FPN."""
        return not self.blocks

    @property
    def output_levels(self) -> tuple[int, ...]:
        """Levels that the graph can output, in ascending order."""
        if self.is_fpn:
            return (3, 4, 5, 6, 7)
        return tuple(sorted(block.level for block in self.blocks if block.is_output))

    def get_config(self) -> dict[str, Any]:
        """Return the spec as plain JSON types."""
        return asdict(self) | {"widths": {str(level): width for level, width in self.widths.items()}}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> ArchitectureSpec:
        """Rebuild a spec from what `get_config` returned, also after a trip through JSON."""
        blocks = tuple(BlockSpec(**{**block, "parents": tuple(block["parents"])}) for block in config["blocks"])
        widths = {int(level): width for level, width in config["widths"].items()}
        return cls(config["name"], tuple(config["stem"]), blocks, widths)


def _validate_stem(spec: ArchitectureSpec) -> None:
    first = 1 if spec.is_mobile else 2
    steps = [after - before for before, after in zip(spec.stem, spec.stem[1:], strict=False)]
    if len(spec.stem) < 2 or spec.stem[0] != first or any(step not in (0, 1) for step in steps):
        raise ValueError(
            f"A stem has two or more levels that start at {first} and rise by at most one. Received: stem={spec.stem}"
        )
    for level in spec.stem:
        if level not in spec.widths:
            raise ValueError(f"The stem has a node at level {level}, which has no width. Received: {spec.widths}")


def _validate_block(spec: ArchitectureSpec, node: int, block: BlockSpec) -> None:
    if block.kind not in BLOCK_KINDS:
        raise ValueError(f"Block {node} has an unknown kind; valid are {BLOCK_KINDS}. Received: kind={block.kind!r}")
    if spec.is_mobile and block.kind != "mbconv":
        raise ValueError(f"Block {node} mixes kinds: a net with MBConv blocks has no others. Received: {block.kind!r}")
    if not 2 <= block.level <= MAX_LEVEL or block.level not in spec.widths:
        levels = [level for level in spec.widths if level >= 2]
        raise ValueError(f"Block {node} has a level without a width; valid are {levels}. Received: level={block.level}")
    if len(block.parents) != 2:
        raise ValueError(f"Block {node} needs exactly two parents. Received: parents={block.parents}")
    for parent in block.parents:
        if parent >= node:
            raise ValueError(f"Block {node} reads block {parent}, which is built later. Received: {block.parents}")
        if parent < 0:
            raise ValueError(f"Block {node} reads block {parent}, which does not exist. Received: {block.parents}")


def _validate_outputs(spec: ArchitectureSpec) -> None:
    seen: dict[int, int] = {}
    for node, block in enumerate(spec.blocks, start=len(spec.stem)):
        if not block.is_output:
            continue
        if block.level in seen:
            raise ValueError(f"Blocks {seen[block.level]} and {node} are both outputs of level {block.level}.")
        seen[block.level] = node
    if spec.blocks and not seen:
        raise ValueError(f"No block of {spec.name!r} is an output: set is_output=True on one block per level.")
