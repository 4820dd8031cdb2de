"""How two things are compared: alternating, so that whatever else the machine does meets both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Effort:
    """How long a comparison may go on."""

    seconds: float = 5.0  # after which no further round begins
    least: int = 5  # rounds that are made in any case
    most: int = 40

    def at_least(self, rounds: int) -> Effort:
        """Return the effort for what takes long in each round."""
        return replace(self, least=min(rounds, self.least))


def alternate(turns: Mapping[str, Callable[[], float]], effort: Effort, warm_ups: int = 1) -> dict[str, list[float]]:
    """Return what each of `turns` measured, one figure per round; in every round each has its turn: A B A B ...

    A turn returns its own figure, usually seconds, so that what it prepares is not in it. The first `warm_ups` rounds
    do not count: a first call traces and allocates.
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
    """Return the median: a turn that was disturbed does not move it."""
    return statistics.median(figures)


def spread(figures: list[float]) -> float:
    """Return the range of the middle half of the figures, as a fraction of their median: how quiet the machine was."""
    if len(figures) < 2:
        return 0.0
    low, _, high = statistics.quantiles(figures, n=4, method="inclusive")
    return (high - low) / median(figures)
