"""Compare the samplers of the search on a function that takes no training: how much a graph is like SpineNet-49.

    nice python -m benchmarks.samplers

Each study of `TRIALS` trials in the space of the paper is a line of `samplers.jsonl` next to this file, and is skipped
the next time. docs/search.md has the table: `python docs/write_tables.py docs/search.md`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from rich.console import Console

from spinenet_tf.nets.graphs import SPINENET
from spinenet_tf.nets.specs import ArchitectureSpec
from spinenet_tf.search.samplers import REJECTED_DRAWS, make_sampler, suggest
from spinenet_tf.search.spaces import SPACES

RESULTS = Path(__file__).with_suffix(".jsonl")
SPACE = SPACES["spinenet"]
TARGET = SPACE.decode(SPACE.encode(SPINENET))
TRIALS, LAST, SEEDS = 600, 100, 5
NOISE = 0.01  # standard deviation of the function: two trainings differ, too
RIVALS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("random", {}),
    ("evolution", {}),
    ("evolution", {"population": 20, "sample": 5}),
    ("policy_gradient", {}),
    ("tpe", {}),
)


def likeness(spec: ArchitectureSpec, target: ArchitectureSpec = TARGET) -> float:
    """Return 1 for the target, and less for a graph with other levels, kinds, parents, or levels of the parents.

    Each of the four shares is a mean over the blocks at their places. The last one is what makes decisions depend on
    each other: a parent is right at its level, whichever block it is.
    """
    levels, wanted = ([*graph.stem, *(block.level for block in graph.blocks)] for graph in (spec, target))
    shares = [
        (
            block.level == aim.level,
            block.kind == aim.kind,
            _common(block.parents, aim.parents),
            _common([levels[parent] for parent in block.parents], [wanted[parent] for parent in aim.parents]),
        )
        for block, aim in zip(spec.blocks, target.blocks, strict=True)
    ]
    return float(np.mean(shares))


def objective(seed: int) -> Callable[[optuna.Trial], float]:
    """Return the function for Optuna: the likeness of a trial's graph, with noise that the seed determines."""

    def measure(trial: optuna.Trial) -> float:
        noise = np.random.default_rng([seed, trial.number]).normal(0.0, NOISE)
        return likeness(SPACE.decode(suggest(trial, SPACE))) + float(noise)

    return measure


def main() -> None:
    """Run the studies that are not in `RESULTS`, and append a line for each."""
    console = Console()
    done = [(row["sampler"], row["options"], row["seed"]) for row in results()]
    for (name, options), seed in product(RIVALS, range(SEEDS)):
        if (name, options, seed) not in done:
            line = json.dumps({"sampler": name, "options": options, "seed": seed} | _study(name, options, seed))
            with RESULTS.open("a", encoding="utf-8") as file:
                file.write(f"{line}\n")
            console.print(line, soft_wrap=True)


def results() -> list[dict[str, Any]]:
    """Return the measured rows."""
    return [json.loads(line) for line in RESULTS.read_text("utf-8").splitlines()] if RESULTS.exists() else []


def _study(name: str, options: dict[str, Any], seed: int) -> dict[str, Any]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=make_sampler(name, SPACE, seed, **options))
    study.optimize(objective(seed), n_trials=TRIALS)
    values = [trial.value for trial in study.trials if trial.value is not None]
    return {
        "best": round(max(values), 3),
        "last": round(float(np.mean(values[-LAST:])), 3),
        "rejected": sum(trial.user_attrs[REJECTED_DRAWS] for trial in study.trials),
        "distinct": len({SPACE.decode(trial.params).name for trial in study.trials}),
    }


def _common(first: Iterable[int], second: Sequence[int]) -> float:
    """Return the share of the second items that the first ones have, too."""
    return (Counter(first) & Counter(second)).total() / len(second)


if __name__ == "__main__":
    main()
