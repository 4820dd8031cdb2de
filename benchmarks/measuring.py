"""Measure alternatives in alternating rounds, so that other load on the machine affects all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Effort:
    """The number of rounds of a comparison."""

    seconds: float = 5.0  # no new round starts after this time
    least: int = 5  # minimum number of rounds
    most: int = 40

    def at_least(self, rounds: int) -> Effort:
        """Return the effort with fewer rounds, for turns that take long."""
        return replace(self, least=min(rounds, self.least))


def alternate(turns: Mapping[str, Callable[[], float]], effort: Effort, warm_ups: int = 1) -> dict[str, list[float]]:
    """Run `turns` in alternating rounds, A B A B ..., and return what each of them measured in each round.

    A turn returns its measurement, usually seconds, so that its preparation is not included. The first `warm_ups`
    rounds are dropped, because a first call traces and allocates.
    """
    figures: dict[str, list[float]] = {name: [] for name in turns}
    rounds, start = -warm_ups, time.perf_counter()
    while rounds < effort.most:
        if rounds == 0:
            start = time.perf_counter()
        if rounds >= effort.least and time.perf_counter() - start > effort.seconds:
            break
        for name, turn in turns.items():
            figure = turn()
            if rounds >= 0:
                figures[name].append(figure)
        rounds += 1
    return figures


def median(figures: list[float]) -> float:
    """Return the median, which a single slow turn does not affect."""
    return statistics.median(figures)


def spread(figures: list[float]) -> float:
    """Return the interquartile range divided by the median; it is small on an idle machine."""
    if len(figures) < 2:
        return 0.0
    low, _, high = statistics.quantiles(figures, n=4, method="inclusive")
    return (high - low) / median(figures)
