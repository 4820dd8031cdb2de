"""Give blocks in a fixed order random connections, as baselines for a learned order.

The paper searched only the connections of two fixed orders. It published the orders and their AP, but not the
connections.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from spinenet_tf.nets.specs import ArchitectureSpec
from spinenet_tf.search.space import PARENTS, Choice, RejectedArchitecture
from spinenet_tf.search.spaces import SPACES

SPACE = SPACES["r0_sp53"]  # both orders have the blocks of R0-SP53

# The levels of all nodes in their order. The first two are the stem. The last five are the outputs, one of each level:
# the decoder of both orders.
HOURGLASS = (2, 2, 2, 3, 3, 3, 4, 4, 4, 4, 4, 5, 7, 6, 5, 4, 3)
FISH = (2, 2, 3, 3, 4, 4, 4, 5, 4, 4, 3, 2, 3, 4, 5, 6, 7)


def with_random_connections(name: str, order: Sequence[int], seed: int) -> ArchitectureSpec:
    """Return a graph of the space of R0-SP53 whose nodes have the levels `order`, and whose connections are random.

    Connections are drawn again until an output needs every block, so that all draws have the same blocks.
    """
    generator, levels = np.random.default_rng(seed), order[len(SPACE.template.stem) :]
    pairs = [decision.options for decision in SPACE.decisions if decision.what == PARENTS]
    while True:
        drawn = [options[int(generator.integers(len(options)))] for options in pairs]
        choices = [Choice(level, parents, 0, "bottleneck") for level, parents in zip(levels, drawn, strict=True)]
        try:
            return replace(SPACE.build(choices), name=name)
        except RejectedArchitecture:
            continue
