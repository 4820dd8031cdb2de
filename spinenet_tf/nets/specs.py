"""Architectures as data: the means to write a graph.

A graph is a list of `BlockSpec`s: `graphs.py` has the published ones, `backbone.py` only walks it, and `family.py`
scales it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any

from spinenet_tf._files.messages import unknown
from spinenet_tf.nets.spec_checks import check_spec

# Width of a block's 3x3 conv by level, before the width multiplier (paper, section 3.2).
STANDARD_WIDTHS = {1: 32, 2: 64, 3: 128, 4: 256, 5: 256, 6: 256, 7: 256}

OUTPUTS = {"fpn": (3, 4, 5, 6, 7), "deconv": (2,)}  # levels of what has no blocks
_OWN = ("width", "expansion", "repeats")  # what few blocks say


@dataclass(frozen=True)
class BlockSpec:
    """One scale-permuted block: its level, its kind and the two earlier nodes that it reads.

    Nodes are numbered from 0, the stem's first. A node at level L has stride 2^L. The last three fields are for blocks
    that differ from others of their kind and level.
    """

    level: int
    kind: str  # "bottleneck", "residual" or "mbconv"
    parents: tuple[int, int]
    is_output: bool = False
    width: int | None = None  # of the 3x3 conv, before the multiplier; None: that of the level
    expansion: float | None = None  # of the wide convs, relative to the narrow ones; None: 4, in an MBConv 6
    repeats: int = 1  # times those of the net

    def get_config(self) -> dict[str, Any]:
        """Return the block as plain JSON types, without those of the last three fields that are as in most blocks."""
        config = asdict(self) | {"parents": list(self.parents)}
        return {name: value for name, value in config.items() if name not in _OWN or value != getattr(BlockSpec, name)}


@dataclass(frozen=True)
class ArchitectureSpec:
    """A stem of chained nodes, and what makes a pyramid of it: scale-permuted blocks, an FPN or transposed convs.

    `stem` holds the level of each stem node. `widths` gives the width of the 3x3 conv by level, before the multiplier.

    Raises:
        ValueError: the graph cannot be built; the message names the block.
    """

    name: str
    stem: tuple[int, ...]
    blocks: tuple[BlockSpec, ...]
    widths: Mapping[int, int] = field(default_factory=lambda: dict(STANDARD_WIDTHS))
    stem_conv: str = "resnet"  # 7x7 and max-pooling, to level 2; or "mobile": 3x3, to level 1
    stem_block: str = "bottleneck"  # the kind of the stem's nodes
    resampling: str = "alpha"  # convs of alpha times the parent's width; or "depthwise": one such conv per octave down
    fusion: str = "blocks"  # scale-permuted ones; or "fpn" or "deconv", which have none
    round_to: int | None = None  # scaled widths are rounded to a multiple of it; None: cut to whole numbers

    def __post_init__(self) -> None:
        check_spec(self)

    @property
    def is_separable(self) -> bool:
        """Whether the 3x3 convs between blocks are depthwise; a head's are then separable."""
        return self.resampling == "depthwise"

    @property
    def has_mbconv(self) -> bool:
        """Whether there are MBConv blocks, the only ones with squeeze-and-excitation."""
        return "mbconv" in (self.stem_block, *(block.kind for block in self.blocks))

    @property
    def output_levels(self) -> tuple[int, ...]:
        """Levels that the graph can output, in ascending order."""
        if self.fusion != "blocks":
            return OUTPUTS[self.fusion]
        return tuple(sorted(block.level for block in self.blocks if block.is_output))

    @property
    def levels(self) -> tuple[int, int]:
        """The first and the last level of a net that is told no others: from P3 on, where there is one."""
        levels = [level for level in self.output_levels if level >= 3] or self.output_levels
        return levels[0], levels[-1]

    def scaled(self, width: int, multiplier: float) -> int:
        """Return a width times the multiplier as channels, of which there is at least one."""
        if self.round_to is None:
            return max(1, int(width * multiplier))
        return max(1, int(width * multiplier / self.round_to + 0.5)) * self.round_to

    def get_config(self) -> dict[str, Any]:
        """Return the spec as plain JSON types, without what `from_config` takes for granted.

        Weights files carry it, and those written before a spec said more than its blocks still have to be equal.
        """
        config = self._say_all()
        guessed = _guess(config["blocks"]) | {"round_to": None}
        return {name: value for name, value in config.items() if name not in guessed or value != guessed[name]}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> ArchitectureSpec:
        """Rebuild a spec from what `get_config` returned, also after a trip through JSON.

        What it does not say of the stem, resampling and fusion is guessed from the kinds of the blocks.

        Raises:
            ValueError: a key is unknown or missing, or the graph cannot be built; the message names the block.
        """
        said = _checked_keys(cls, config, "A graph")
        return cls._of(_guess(said["blocks"]) | said)

    @classmethod
    def load(cls, path: str | os.PathLike) -> ArchitectureSpec:
        """Read a YAML file such as `save` writes. What it does not say is as in a spec that is written in Python.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is not YAML, a key is unknown or missing, or the graph cannot be built; the message names
            the block.
        """
        from spinenet_tf.nets.graph_file import read_values

        values = read_values(path)
        try:
            return cls._of(_checked_keys(cls, values, "A graph"))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def save(self, path: str | os.PathLike, *, overwrite: bool = True) -> None:
        """Write the spec as YAML, with all that it leaves to defaults but what few blocks say.

        Raises:
            FileExistsError: the file exists and `overwrite` is False.
            WriteError: the disk is full or read only, or the user may not write here.
        """
        from spinenet_tf.nets.graph_file import write_values

        said = {name: value for name, value in self._say_all().items() if value is not None}
        write_values(path, said | {"widths": dict(self.widths)}, overwrite=overwrite)

    def _say_all(self) -> dict[str, Any]:
        return {entry.name: getattr(self, entry.name) for entry in fields(self)} | {
            "stem": list(self.stem),
            "blocks": [block.get_config() for block in self.blocks],
            "widths": {str(level): width for level, width in self.widths.items()},
        }

    @classmethod
    def _of(cls, values: dict[str, Any]) -> ArchitectureSpec:
        stem, blocks = (_as_tuple(values[name]) for name in ("stem", "blocks"))
        if isinstance(stem, tuple) and isinstance(blocks, tuple):  # else the check of types says it
            blocks = tuple(_block(block, node) for node, block in enumerate(blocks, start=len(stem)))
        values = values | {"stem": stem, "blocks": blocks}
        if isinstance(values.get("widths"), Mapping):
            values["widths"] = {_as_whole(level): width for level, width in values["widths"].items()}
        return cls(**values)


def _guess(blocks: Any) -> dict[str, str]:
    """Return what was said by the kinds of blocks alone until specs had these fields."""
    blocks = blocks if isinstance(blocks, (list, tuple)) else ()  # anything else is refused later
    kinds = [block.get("kind") if isinstance(block, Mapping) else None for block in blocks]
    fusion = "blocks" if kinds else "fpn"
    if "mbconv" in kinds:
        return {"stem_conv": "mobile", "stem_block": "mbconv", "resampling": "depthwise", "fusion": fusion}
    return {"stem_conv": "resnet", "stem_block": "bottleneck", "resampling": "alpha", "fusion": fusion}


def _block(values: Any, node: int) -> BlockSpec:
    values = _checked_keys(BlockSpec, values, f"Block {node}")
    return BlockSpec(**values | {"parents": _as_tuple(values["parents"])})


def _checked_keys(spec: type, values: Any, what: str) -> dict[str, Any]:
    """Return the values of a spec's fields, of which none is missing and none unknown."""
    if not isinstance(values, Mapping):
        raise ValueError(f"{what} is given by keys and values. Received: {repr(values)[:80]}")
    valid = {entry.name: entry for entry in fields(spec)}
    strangers = [str(key)[:40] for key in values if key not in valid]
    if strangers:
        raise ValueError(f"{what}: {unknown('key', strangers[:5], valid)}")
    needed = [name for name, entry in valid.items() if entry.default is entry.default_factory is MISSING]
    missing = [name for name in needed if name not in values]
    if missing:
        raise ValueError(f"{what} lacks {', '.join(missing)}. Received: {', '.join(map(str, values)) or 'nothing'}")
    return dict(values)


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, (list, tuple)) else value


def _as_whole(value: Any) -> Any:
    """Return the number that a key of JSON spells."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value
