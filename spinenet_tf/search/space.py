"""The space of a search: decisions with a fixed number of choices each, which determine a graph (paper, section 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from math import factorial, prod
from typing import Any, NamedTuple

from spinenet_tf._files.messages import some_of
from spinenet_tf.nets.specs import ArchitectureSpec, BlockSpec
from spinenet_tf.nets.wiring import wiring
from spinenet_tf.search.fingerprint import fingerprint
from spinenet_tf.search.permutations import count_orders, from_digits, to_digits
from spinenet_tf.search.space_checks import check_graph, check_space, check_values

__all__ = ["Choice", "Decision", "RejectedArchitecture", "SearchSpace", "fingerprint"]

ORDER, PARENTS, OFFSET, KIND = "order", "parents", "offset", "kind"

Kind = str | tuple[str, float]  # of a block; or its kind and its expansion


class RejectedArchitecture(ValueError):
    """A graph with a block that no output needs: no block reads it, and it cannot join an output."""


class Decision(NamedTuple):
    """What has to be decided for a block, and what can be chosen, in the order of its values."""

    name: str
    block: int  # 0 for the first one after the stem
    what: str  # `ORDER`, `PARENTS`, `OFFSET` or `KIND`
    options: Sequence[Any]


class Choice(NamedTuple):
    """What was chosen for a block."""

    level: int  # before the offset
    parents: tuple[int, ...]
    offset: int
    kind: Kind


@dataclass(frozen=True)
class SearchSpace:
    """Graphs of the same stem and blocks, which differ in the order of the blocks, their parents, levels and kinds.

    The blocks that are not outputs come first. Their levels are a permutation of `intermediates`, each plus an offset;
    those of the outputs are a permutation of `outputs`. Each block reads two distinct nodes: an output any two earlier
    ones, another block two of the last `window`. Each decision is a whole number below a fixed limit (`parameters`).

    A block that no later block reads joins the output of its level and channels (`nets.wiring.dangling`). If there is
    none, the graph is rejected: only as a third parent could another output read the block, and blocks have two.
    Uniform draws that are repeated until one is accepted are uniform over the accepted ones.

    Raises:
        ValueError: a field is invalid.
    """

    name: str
    template: ArchitectureSpec  # graphs have its stem, widths and resampling; its blocks are replaced
    intermediates: tuple[int, ...]  # levels of the blocks that are not outputs
    offsets: tuple[int, ...] = (0,)  # what may be added to these levels: consecutive numbers
    kinds: tuple[Kind, ...] = ("bottleneck",)
    window: int = 5  # how many of the nodes before it a block that is not an output can read
    outputs: tuple[int, ...] = (3, 4, 5, 6, 7)  # levels of the outputs

    def __post_init__(self) -> None:
        check_space(self)

    def parameters(self) -> dict[str, int]:
        """Return the number of choices of each decision with more than one: a value is an integer below it.

        `node7_order` is the index of the level of node 7 among the levels that the nodes before it have left,
        `node7_parents` that of a pair of earlier nodes, `node7_offset` and `node7_kind` are those in `offsets` and
        `kinds`.
        """
        return {name: len(options) for name, _, _, options in self.decisions if len(options) > 1}

    def size(self) -> int:
        """Return the number of combinations of values, including those that are rejected."""
        return prod(self.parameters().values())

    def permutations(self) -> int:
        """Return the number of orders of the blocks, if those of equal level are told apart, as the paper counts."""
        return factorial(len(self.intermediates)) * factorial(len(self.outputs))

    def level_orders(self) -> int:
        """Return the number of distinct orders of levels, before offsets."""
        return count_orders(self.intermediates) * count_orders(self.outputs)

    def decode(self, values: Mapping[str, int]) -> ArchitectureSpec:
        """Return the graph that the values of all `parameters` determine; its name has the start of its fingerprint.

        Raises:
            RejectedArchitecture: no output needs one of the blocks.
            ValueError: a value is missing, unknown or out of range.
        """
        return self.build(self.read(values))

    def encode(self, spec: ArchitectureSpec) -> dict[str, int]:
        """Return values that `decode` to this graph, except for its name.

        If the last blocks are outputs of levels that the space does not have, as SpineNet's P2 is, they are left out.
        If several values mean this graph, the levels before offsets are assigned in ascending order.

        Raises:
            ValueError: the graph is not in the space; the message states the difference.
        """
        blocks = check_graph(self, spec)
        count = len(self.intermediates)
        ascending = sorted(range(count), key=lambda index: blocks[index].level)
        bases = dict(zip(ascending, sorted(self.intermediates), strict=True))
        levels = [bases.get(index, block.level) for index, block in enumerate(blocks)]
        return self.write(
            [
                Choice(level, tuple(sorted(block.parents)), block.level - level, _kind_of(block))
                for level, block in zip(levels, blocks, strict=True)
            ]
        )

    def read(self, values: Mapping[str, int]) -> list[Choice]:
        """Return what the values choose, for each block in order.

        Raises:
            ValueError: a value is missing, unknown or out of range.
        """
        check_values(self, values)
        chosen: dict[str, list[Any]] = {ORDER: [], PARENTS: [], OFFSET: [], KIND: []}
        for name, _, what, options in self.decisions:
            chosen[what].append(options[values.get(name, 0)])
        count = len(self.intermediates)
        levels = from_digits(chosen[ORDER][:count], self.intermediates) + from_digits(
            chosen[ORDER][count:], self.outputs
        )
        return list(map(Choice, levels, chosen[PARENTS], chosen[OFFSET], chosen[KIND]))

    def write(self, choices: Sequence[Choice]) -> dict[str, int]:
        """Return values that `read` turns into these choices.

        Raises:
            ValueError: the space does not have one of the choices.
        """
        levels, count = [choice.level for choice in choices], len(self.intermediates)
        digits = to_digits(levels[:count], self.intermediates) + to_digits(levels[count:], self.outputs)
        values = {}
        for name, block, what, options in self.decisions:
            chosen = digits[block] if what == ORDER else getattr(choices[block], what)
            if chosen not in options:
                raise ValueError(f"`{name}` must be one of {some_of(options)}. Received: {chosen}")
            values[name] = options.index(chosen)
        return {name: values[name] for name in self.parameters()}

    def build(self, choices: Sequence[Choice]) -> ArchitectureSpec:
        """Return the graph with these choices.

        Raises:
            RejectedArchitecture: no output needs one of the blocks.
        """
        blocks = tuple(
            _block(choice, is_output=index >= len(self.intermediates)) for index, choice in enumerate(choices)
        )
        spec = replace(self.template, name=self.name, blocks=blocks)
        needed = {node.number for node in wiring(spec, spec.output_levels)[0]}
        if lost := set(range(len(spec.stem), len(spec.stem) + len(blocks))) - needed:
            raise RejectedArchitecture(f"No output needs one or more blocks. Received: {some_of(sorted(lost))}")
        return replace(spec, name=f"{self.name}_{fingerprint(spec)[:8]}")

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        """All decisions, block by block, also those with a single choice."""
        found: list[Decision] = []
        count, stem = len(self.intermediates), len(self.template.stem)
        for block in range(count + len(self.outputs)):
            node, is_output = stem + block, block >= count
            earlier = range(0 if is_output else max(0, node - self.window), node)
            options: dict[str, Sequence[Any]] = {
                ORDER: range((count + len(self.outputs) if is_output else count) - block),
                PARENTS: tuple(combinations(earlier, 2)),
                OFFSET: (0,) if is_output else self.offsets,
                KIND: self.kinds,
            }
            found += [Decision(f"node{node}_{what}", block, what, chosen) for what, chosen in options.items()]
        return tuple(found)


def _block(choice: Choice, is_output: bool) -> BlockSpec:
    kind, expansion = (choice.kind, None) if isinstance(choice.kind, str) else choice.kind
    return BlockSpec(choice.level + choice.offset, kind, choice.parents, is_output, expansion=expansion)


def _kind_of(block: BlockSpec) -> Kind:
    return block.kind if block.expansion is None else (block.kind, block.expansion)
