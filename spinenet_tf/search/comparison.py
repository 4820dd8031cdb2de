"""Compare the best graphs of a search with a named graph: the same proxy, several seeds, about equal multiply-adds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

from spinenet_tf._files.ledger import Ledger
from spinenet_tf._files.progress import Track, untracked
from spinenet_tf.nets.family import variant
from spinenet_tf.nets.specs import ArchitectureSpec
from spinenet_tf.search.proxy import count_costs, train_proxy, with_width
from spinenet_tf.training.config import TrainConfig

COMPARISON = "comparison.jsonl"
_STEPS = 5  # towards a number of multiply-adds


@dataclass(frozen=True)
class Contestant:
    """A graph at the width at which it is trained."""

    name: str
    spec: ArchitectureSpec
    proxy: TrainConfig
    multiply_adds: int


@dataclass(frozen=True)
class Group:
    """The AP of one contestant, one per seed."""

    graph: str
    multiply_adds: int
    aps: list[float]

    @property
    def mean(self) -> float:
        """The mean AP."""
        return mean(self.aps)


def contestants(graphs: Iterable[ArchitectureSpec], named: str, proxy: TrainConfig) -> list[Contestant]:
    """Return the graphs, the named graph as it is, and the named graph at the multiply-adds of the first graph.

    Raises:
        ValueError: no model has this name.
    """
    own = [Contestant(spec.name, spec, proxy, count_costs(proxy, spec).multiply_adds) for spec in graphs]
    spec = variant(named).graph
    there = Contestant(named, spec, proxy, count_costs(proxy, spec).multiply_adds)
    scaled = at_multiply_adds(proxy, spec, own[0].multiply_adds)
    width = scaled.model.overrides["width"]
    equal = count_costs(scaled, spec).multiply_adds
    return [*own, there, Contestant(f"{named}, width {width:.3f}", spec, scaled, equal)]


def at_multiply_adds(proxy: TrainConfig, spec: ArchitectureSpec, target: int) -> TrainConfig:
    """Return the proxy with the width at which the graph has about this number of multiply-adds."""
    width = proxy.model.overrides.get("width", variant(proxy.model.name).style.get("width", 1.0))
    for _ in range(_STEPS):  # multiply-adds grow at most with the square of the width
        width *= (target / count_costs(with_width(proxy, width), spec).multiply_adds) ** 0.5
    return with_width(proxy, round(width, 4))


def compare(
    folder: Path,
    found: Iterable[Contestant],
    seeds: int,
    *,
    track: Track = untracked,
    train: Callable[..., float] = train_proxy,
) -> list[Group]:
    """Train each contestant with each seed, and return the AP; finished trainings are in `folder/comparison.jsonl`."""
    ledger, found = Ledger(folder / COMPARISON), list(found)
    jobs = [(contestant, seed) for seed in range(seeds) for contestant in found]
    for contestant, seed in track(jobs, len(jobs), "Comparing"):
        ledger.once(f"{contestant.name}, seed {seed}", partial(_row, folder, contestant, seed, train))
    names = {contestant.name for contestant in found}
    return compared(row for row in ledger.rows().values() if row["graph"] in names)


def _row(folder: Path, contestant: Contestant, seed: int, train: Callable[..., float]) -> dict[str, Any]:
    start = time.perf_counter()
    run = folder / "comparison" / f"{contestant.name.replace(', ', '-').replace(' ', '-')}-seed{seed}"
    ap = train(contestant.proxy, contestant.spec, run, seed=seed)
    return {
        "graph": contestant.name,
        "seed": seed,
        "multiply_adds": contestant.multiply_adds,
        "AP": round(ap, 4),
        "seconds": round(time.perf_counter() - start),
    }


def compared(rows: Iterable[dict[str, Any]]) -> list[Group]:
    """Return the AP by graph, in the order of the rows."""
    return list(_groups(list(rows)))


def _groups(rows: list[dict[str, Any]]) -> Iterator[Group]:
    for name in dict.fromkeys(row["graph"] for row in rows):
        own = [row for row in rows if row["graph"] == name]
        yield Group(name, own[0]["multiply_adds"], [row["AP"] for row in own])
