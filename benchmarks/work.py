"""The parts of a benchmark, which are measured one after the other; if one fails, the others still run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.measuring import Effort, median
from benchmarks.peak import Peak
from benchmarks.results import Row


@dataclass(frozen=True)
class Settings:
    """The settings of all parts of a run."""

    effort: Effort = field(default_factory=Effort)
    peaks: Sequence[Peak] = ()
    quick: bool = False

    def limit(
        self, dtype: str, multiply_adds: float, times: Mapping[str, Sequence[float]], threads: int | None = None
    ) -> dict[str, Any]:
        """Return the `limit` of a row, empty if the rate of that type was not measured."""
        threads = threads or os.cpu_count() or 1
        for peak in self.peaks:
            if (peak.dtype, peak.threads) == (dtype, threads):
                return peak.limit(multiply_adds, median(list(times["theirs"])), median(list(times["ours"])))
        return {}


@dataclass(frozen=True)
class Part:
    """A comparison, or several that share their preparation."""

    name: str  # "group/part"
    rows: Callable[[Settings], Iterator[Row]]
