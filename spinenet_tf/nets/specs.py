"""Architectures as data: a graph is a stem and a list of `BlockSpec`s.

`graphs.py` has the published graphs, `family.py` their scaling, and `backbone.py` builds a graph.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any

from spinenet_tf._files.messages import unknown
from spinenet_tf.nets.spec_checks import MBCONV_KINDS, check_spec

# Channels of a block's 3x3 conv by level, before the width multiplier (paper, section 3.2).
STANDARD_WIDTHS = {1: 32, 2: 64, 3: 128, 4: 256, 5: 256, 6: 256, 7: 256}

OUTPUTS = {"fpn": (3, 4, 5, 6, 7), "deconv": (2,)}  # output levels of graphs without blocks
_OWN = ("width", "expansion", "repeats")  # the fields that few blocks set


@dataclass(frozen=True)
class BlockSpec:
    """One scale-permuted block: its level, its kind and the one or two earlier nodes that it reads.

    Nodes are numbered from 0; those of the stem come first. A node at level L has stride 2^L. The last three fields are
    for blocks that differ from others of their kind and level.
    """

    level: int
    kind: str  # "bottleneck", "residual", "mbconv" or "fused_mbconv"
    parents: tuple[int, ...]  # one node, or two different ones
    is_output: bool = False
    width: int | None = None  # channels of the 3x3 conv, before the width multiplier; None: that of the level
    expansion: float | None = None  # channels of wide convs relative to narrow ones; None: 4, or 6 for mbconv
    repeats: int = 1  # multiplies the repeats of the net

    def get_config(self) -> dict[str, Any]:
        """Return the block as plain JSON types; of the last three fields, only those that are not the default."""
        config = asdict(self) | {"parents": list(self.parents)}
        return {name: value for name, value in config.items() if name not in _OWN or value != getattr(BlockSpec, name)}


@dataclass(frozen=True)
class ArchitectureSpec:
    """A stem of chained nodes, and scale-permuted blocks, an FPN or transposed convs that make a pyramid of it.

    `stem` has the level of each stem node. `widths` are the channels of 3x3 convs by level, before the multiplier.

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
    fusion: str = "blocks"  # scale-permuted blocks; or "fpn" or "deconv", without blocks
    round_to: int | None = None  # scaled widths are rounded to a multiple of this; None: rounded down to an integer

    def __post_init__(self) -> None:
        check_spec(self)

    @property
    def is_separable(self) -> bool:
        """Whether the 3x3 convs between blocks are depthwise; those of a head are then separable."""
        return self.resampling == "depthwise"

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of all blocks, also those of the stem."""
        return frozenset((self.stem_block, *(block.kind for block in self.blocks)))

    @property
    def has_mbconv(self) -> bool:
        """Whether there are MBConv blocks, fused or not; only these have squeeze-and-excitation."""
        return not self.kinds.isdisjoint(MBCONV_KINDS)

    @property
    def output_levels(self) -> tuple[int, ...]:
        """The levels that the graph can output, in ascending order."""
        if self.fusion != "blocks":
            return OUTPUTS[self.fusion]
        return tuple(sorted(block.level for block in self.blocks if block.is_output))

    @property
    def levels(self) -> tuple[int, int]:
        """The default first and last output level of a net: from P3 on, or all levels if none is at least P3."""
        levels = [level for level in self.output_levels if level >= 3] or self.output_levels
        return levels[0], levels[-1]

    def scaled(self, width: int, multiplier: float) -> int:
        """Return a width times the multiplier as a number of channels, at least 1."""
        if self.round_to is None:
            return max(1, int(width * multiplier))
        return max(1, int(width * multiplier / self.round_to + 0.5)) * self.round_to

    def get_config(self) -> dict[str, Any]:
        """Return the spec as plain JSON types, without the fields that `from_config` infers.

        Weights files store this config; it must still equal those written before specs had these fields.
        """
        config = self._say_all()
        guessed = _guess(config["blocks"]) | {"round_to": None}
        return {name: value for name, value in config.items() if name not in guessed or value != guessed[name]}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> ArchitectureSpec:
        """Create a spec from the config of `get_config`, also after a trip through JSON.

        Missing fields of the stem, resampling and fusion are inferred from the kinds of the blocks.

        Raises:
            ValueError: a key is unknown or missing, or the graph cannot be built; the message names the block.
        """
        said = _checked_keys(cls, config, "A graph")
        return cls._of(_guess(said["blocks"]) | said)

    @classmethod
    def load(cls, path: str | os.PathLike) -> ArchitectureSpec:
        """Read a YAML file as `save` writes it. Missing fields have the defaults of this class.

        Raises:
            FileNotFoundError: the file does not exist.
            ValueError: the file is not YAML, a key is unknown or missing, or the graph cannot be built; the message
                names the block.
        """
        from spinenet_tf.nets.graph_file import read_values

        values = read_values(path)
        try:
            return cls._of(_checked_keys(cls, values, "A graph"))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def save(self, path: str | os.PathLike, *, overwrite: bool = True) -> None:
        """Write the spec as YAML, including fields with default values, but not the last three of each block.

        Raises:
            FileExistsError: the file exists and `overwrite` is False.
            WriteError: the disk is full or read-only, or the user lacks permission to write.
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
        if isinstance(stem, tuple) and isinstance(blocks, tuple):  # otherwise `check_spec` raises
            blocks = tuple(_block(block, node) for node, block in enumerate(blocks, start=len(stem)))
        values = values | {"stem": stem, "blocks": blocks}
        if isinstance(values.get("widths"), Mapping):
            values["widths"] = {_as_whole(level): width for level, width in values["widths"].items()}
        return cls(**values)


def _guess(blocks: Any) -> dict[str, str]:
    """Infer the fields that older configs do not have from the kinds of the blocks."""
    blocks = blocks if isinstance(blocks, (list, tuple)) else ()  # `check_spec` refuses anything else later
    kinds = [block.get("kind") if isinstance(block, Mapping) else None for block in blocks]
    fusion = "blocks" if kinds else "fpn"
    if any(kind in kinds for kind in MBCONV_KINDS):
        return {"stem_conv": "mobile", "stem_block": "mbconv", "resampling": "depthwise", "fusion": fusion}
    return {"stem_conv": "resnet", "stem_block": "bottleneck", "resampling": "alpha", "fusion": fusion}


def _block(values: Any, node: int) -> BlockSpec:
    values = _checked_keys(BlockSpec, values, f"Block {node}")
    return BlockSpec(**values | {"parents": _as_tuple(values["parents"])})


def _checked_keys(spec: type, values: Any, what: str) -> dict[str, Any]:
    """Return `values` as a dict, after checking that no field is missing and none unknown."""
    if not isinstance(values, Mapping):
        raise ValueError(f"{what} must be a mapping. Received: {repr(values)[:80]}")
    valid = {entry.name: entry for entry in fields(spec)}
    invalid = [str(key)[:40] for key in values if key not in valid]
    if invalid:
        raise ValueError(f"{what}: {unknown('key', invalid[:5], valid)}")
    needed = [name for name, entry in valid.items() if entry.default is entry.default_factory is MISSING]
    missing = [name for name in needed if name not in values]
    if missing:
        received = ", ".join(map(str, values)) or "nothing"
        raise ValueError(f"{what} is missing keys: {', '.join(missing)}. Received: {received}")
    return dict(values)


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, (list, tuple)) else value


def _as_whole(value: Any) -> Any:
    """Convert a JSON key to an int, if it is one."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value
