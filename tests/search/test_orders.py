"""The fixed orders have the blocks of R0-SP53, and random connections follow the paper's rule."""

from __future__ import annotations

from collections import Counter
from itertools import groupby

import pytest

from spinenet_tf.nets.graphs import R0_SP53
from spinenet_tf.nets.wiring import wiring
from spinenet_tf.search.orders import FISH, HOURGLASS, with_random_connections

ORDERS = {"hourglass": HOURGLASS, "fish": FISH}
STEM, WINDOW = 2, 5  # nodes
# As the paper has them: (number of blocks, level).
PUBLISHED = {
    "hourglass": [(3, 2), (3, 3), (5, 4), (1, 5), (1, 7), (1, 6), (1, 5), (1, 4), (1, 3)],
    "fish": [(2, 2), (2, 3), (3, 4), (1, 5), (2, 4), (1, 3), (1, 2), (1, 3), (1, 4), (1, 5), (1, 6), (1, 7)],
}


@pytest.mark.parametrize("name", ORDERS)
def test_the_order_is_the_published_one_and_has_the_blocks_of_r0_sp53(name: str) -> None:
    order = ORDERS[name]
    assert [(len(list(same)), level) for level, same in groupby(order)] == PUBLISHED[name]
    assert order[:STEM] == R0_SP53.stem
    assert Counter(order[STEM:]) == Counter(block.level for block in R0_SP53.blocks)


@pytest.mark.parametrize("name", ORDERS)
def test_connections_follow_the_rule_and_every_block_is_needed(name: str) -> None:
    order, reached = ORDERS[name], set()
    for seed in range(30):
        spec = with_random_connections(name, order, seed)
        assert [block.level for block in spec.blocks] == list(order[STEM:])
        assert {block.kind for block in spec.blocks} == {"bottleneck"}
        assert [block.is_output for block in spec.blocks] == [False] * 10 + [True] * 5
        assert spec.output_levels == (3, 4, 5, 6, 7)
        needed = {node.number for node in wiring(spec, spec.output_levels)[0]}
        assert needed >= set(range(STEM, len(order)))
        for node, block in enumerate(spec.blocks, start=STEM):
            first, second = block.parents
            assert max(0, node - WINDOW) * (not block.is_output) <= first < second < node
            reached |= {node - first} if block.is_output else set()
    assert max(reached) > WINDOW, "outputs read any earlier block"


def test_a_seed_is_a_graph() -> None:
    graphs = [with_random_connections("fish", FISH, seed) for seed in (0, 0, 1)]
    assert graphs[0] == graphs[1]
    assert graphs[0] != graphs[2]
