"""A space that is small enough to list all of its graphs."""

from __future__ import annotations

from itertools import product

from spinenet_tf.nets.graphs import SPINENET
from spinenet_tf.search.space import SearchSpace

SMALL = SearchSpace("small", SPINENET, (3, 4), offsets=(0, 1), window=3, outputs=(3,))
ALL_VALUES = [
    dict(zip(SMALL.parameters(), values, strict=True)) for values in product(*map(range, SMALL.parameters().values()))
]
