"""A mutation changes one decision, and reaches every choice."""

from __future__ import annotations

import numpy as np
from small_space import ALL_VALUES, SMALL

from spinenet_tf.nets.graphs import SPINENET
from spinenet_tf.search.samplers.mutation import mutate
from spinenet_tf.search.spaces import SPACES

PAPER = SPACES["spinenet"]


def test_one_decision_changes():
    random, values = np.random.default_rng(0), PAPER.encode(SPINENET)
    before, seen = PAPER.read(values), set()
    for _ in range(300):
        after = PAPER.read(mutate(PAPER, values, random))
        changed = [
            (index, what)
            for index, (old, new) in enumerate(zip(before, after, strict=True))
            for what in old._fields
            if getattr(old, what) != getattr(new, what)
        ]
        blocks, (what, *others) = [index for index, _ in changed], [what for _, what in changed]
        seen.add(what)
        if what == "level":
            assert others == ["level"], "two blocks exchange their levels"
            assert before[blocks[0]].level == after[blocks[1]].level
            assert (blocks[0] < 10) == (blocks[1] < 10), "an output stays an output"
        else:
            assert not others
        if what == "parents":
            assert len(set(before[blocks[0]].parents) & set(after[blocks[0]].parents)) == 1
    assert seen == {"level", "parents", "offset", "kind"}


def test_repeated_mutations_reach_every_choice_of_a_small_space():
    random, values, seen = np.random.default_rng(0), ALL_VALUES[0], set()
    for _ in range(3000):
        values = mutate(SMALL, values, random)
        seen.add(tuple(values.values()))
    assert len(seen) == SMALL.size()
