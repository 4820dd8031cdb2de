"""Change one decision of a graph, as evolution does to make a child."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from spinenet_tf.search.space import ORDER, PARENTS, Choice, Decision, SearchSpace


def mutate(space: SearchSpace, values: Mapping[str, int], random: np.random.Generator) -> dict[str, int]:
    """Return values that differ in one decision, drawn uniformly from those that can change.

    An order changes by a swap: two blocks exchange their levels. Everything else stays at its place, so parents remain
    valid. A change of one Lehmer digit would move all later blocks. Of two parents, one is replaced.
    """
    choices = space.read(values)
    decisions = (space.decisions[index] for index in random.permutation(len(space.decisions)))
    mutants = next(found for decision in decisions if (found := _mutants(space, choices, decision)))
    return space.write(mutants[random.integers(len(mutants))])


def _mutants(space: SearchSpace, choices: Sequence[Choice], decision: Decision) -> list[list[Choice]]:
    """Return all graphs with another choice in one decision; an output always has one with other parents."""
    block, what = decision.block, decision.what
    if what == ORDER:
        return _swapped(choices, block, len(space.intermediates))
    old = getattr(choices[block], what)
    others = [option for option in decision.options if option != old]
    if what == PARENTS:
        others = [pair for pair in others if set(pair) & set(old)]
    return [_with(choices, {block: choices[block]._replace(**{what: other})}) for other in others]


def _swapped(choices: Sequence[Choice], block: int, outputs_from: int) -> list[list[Choice]]:
    """Return the graphs in which two outputs, or two blocks that are not, have exchanged their levels."""
    level, is_output = choices[block].level, block >= outputs_from
    return [
        _with(choices, {block: choices[block]._replace(level=other.level), index: other._replace(level=level)})
        for index, other in enumerate(choices)
        if other.level != level and (index >= outputs_from) == is_output
    ]


def _with(choices: Sequence[Choice], changed: Mapping[int, Choice]) -> list[Choice]:
    return [changed.get(index, choice) for index, choice in enumerate(choices)]
