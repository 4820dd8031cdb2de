"""Give blocks in a fixed order random connections, as baselines for a learned order.

The paper searched only the connections of two fixed orders. It published the orders and their AP, but not the
connections.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from spinenet_tf.nets.specs import ArchitectureSpec, BlockSpec
from spinenet_tf.nets.wiring import wiring

STEM = 2  # nodes, both at level 2
WINDOW = 5  # an intermediate block reads two of so many nodes before it

# The levels of all nodes, in their order. Both have the blocks of R0-SP53.
HOURGLASS = (2, 2, 2, 3, 3, 3, 4, 4, 4, 4, 4, 5, 7, 6, 5, 4, 3)
FISH = (2, 2, 3, 3, 4, 4, 4, 5, 4, 4, 3, 2, 3, 4, 5, 6, 7)


def with_random_connections(name: str, order: Sequence[int], seed: int) -> ArchitectureSpec:
    """Return a graph of bottleneck blocks whose nodes have the levels `order`, and whose connections are random.

    The outputs are the last blocks of the levels 3 to 7: those of the decoder, which are the five last blocks of both
    orders. An output reads two of all earlier nodes, another block two of the last `WINDOW`. Connections are drawn
    again until an output needs every block, so that all draws have the same blocks.
    """
    generator = np.random.default_rng(seed)
    while True:
        spec = ArchitectureSpec(name, tuple(order[:STEM]), tuple(_blocks(order, generator)))
        if len(wiring(spec, spec.output_levels)[0]) == len(order):
            return spec


def _blocks(order: Sequence[int], generator: np.random.Generator) -> Iterator[BlockSpec]:
    last = {level: node for node, level in enumerate(order) if level >= 3}
    for node, level in enumerate(order[STEM:], start=STEM):
        is_output = last.get(level) == node
        earliest = 0 if is_output else max(0, node - WINDOW)
        first, second = sorted(generator.choice(np.arange(earliest, node), 2, replace=False).tolist())
        yield BlockSpec(level, "bottleneck", (first, second), is_output)
