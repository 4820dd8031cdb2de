"""A work: parts that are measured one after the other, each of which may fail without harm to the others."""

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
    """What all parts of a run have in common."""

    effort: Effort = field(default_factory=Effort)
    peaks: Sequence[Peak] = ()
    quick: bool = False

    def limit(
        self, dtype: str, multiply_adds: float, times: Mapping[str, Sequence[float]], threads: int | None = None
    ) -> dict[str, Any]:
        """Return a row's `limit`: empty if the rate of that type was not measured."""
        threads = threads or os.cpu_count() or 1
        for peak in self.peaks:
            if (peak.dtype, peak.threads) == (dtype, threads):
                return peak.limit(multiply_adds, median(list(times["theirs"])), median(list(times["ours"])))
        return {}


@dataclass(frozen=True)
class Part:
    """A comparison, or a few that share what they measure."""

    name: str  # "work/part"
    rows: Callable[[Settings], Iterator[Row]]
