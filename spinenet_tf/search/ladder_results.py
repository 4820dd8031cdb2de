"""Summarize the results of the ladder: the mean AP of each net and its spread, beside its costs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev, variance
from typing import Any, NamedTuple

from spinenet_tf.search.ladder import Rung, chosen

FAILED = 0.2  # below the best AP of the same net: BN in inference made up objects in a few images (docs/ladder.md)


@dataclass(frozen=True)
class Result:
    """The results of the trainings of one net: AP in 0..1, and means of the others, since random graphs differ.

    A training whose AP is more than 0.2 below the best of its net has failed. It is in `failed` and in nothing else.
    """

    rung: Rung
    AP: tuple[float, ...]  # of each training that did not fail
    failed: tuple[float, ...]  # AP of each training that failed
    APs: float | None  # of small objects, as COCO has them; None without such objects
    APm: float | None  # of medium objects
    parameters: float
    multiply_adds: float

    @property
    def mean(self) -> float:
        """The mean AP."""
        return mean(self.AP)

    @property
    def spread(self) -> float | None:
        """The standard deviation of AP over the trainings, or None for one training."""
        return stdev(self.AP) if len(self.AP) > 1 else None


class Spread(NamedTuple):
    """A standard deviation, and the number of trainings that it is estimated from beyond one per net."""

    deviation: float
    freedom: int


def summarize(rows: Iterable[Mapping[str, Any]]) -> list[Result]:
    """Return the results of the nets that have lines, in the order of the experiment."""
    by_net: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if "net" in row:
            by_net.setdefault(row["net"], []).append(row)
    return [_result(rung, by_net[rung.name]) for rung in chosen() if rung.name in by_net]


def pooled_spread(results: Iterable[Result]) -> Spread | None:
    """Return how AP differs between trainings of the same net, from all nets that were repeated.

    Nets with random connections do not count: their graphs differ. None if no net was repeated.
    """
    repeated = [result.AP for result in results if result.rung.group != "orders" and len(result.AP) > 1]
    freedom = sum(len(values) - 1 for values in repeated)
    if not freedom:
        return None
    return Spread(math.sqrt(sum((len(values) - 1) * variance(values) for values in repeated) / freedom), freedom)


def _result(rung: Rung, rows: Sequence[Mapping[str, Any]]) -> Result:
    limit = max(row["AP"] for row in rows) - FAILED
    failed = tuple(row["AP"] for row in rows if row["AP"] < limit)
    rows = [row for row in rows if row["AP"] >= limit]

    def average(key: str) -> Any:
        return mean(row[key] for row in rows) if all(key in row for row in rows) else None

    found = tuple(row["AP"] for row in rows)
    return Result(rung, found, failed, *map(average, ("APs", "APm", "parameters", "multiply_adds")))
