"""The results of a search in its folder: a line per trial, and the best graphs as YAML."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from spinenet_tf._files.writing import write_whole
from spinenet_tf.nets.specs import ArchitectureSpec
from spinenet_tf.search.config import SearchConfig
from spinenet_tf.search.outcomes import RUNNING, TRAINED, WAITING, outcome_of

TRIALS, BEST = "trials.jsonl", "best"
_FACTS = ("graph", "AP", "proxy", "costs", "seconds", "worker", "reason", "error", "retry_of")


def row_of(trial: FrozenTrial) -> dict[str, Any]:
    """Return a finished trial as plain JSON types."""
    row: dict[str, Any] = {"unit": f"trial {trial.number}", "outcome": outcome_of(trial)}
    if trial.values is not None:
        row["values"] = [round(value, 6) for value in trial.values]
    row |= {name: trial.user_attrs[name] for name in _FACTS if name in trial.user_attrs}
    if "error" in row:
        row["error"] = {key: value for key, value in row["error"].items() if key != "traceback"}
    curve = {str(step): round(value, 6) for step, value in trial.intermediate_values.items()}
    return row | ({"curve": curve} if curve else {}) | {"params": dict(trial.params)}


def write_trials(folder: Path, trials: Sequence[FrozenTrial]) -> None:
    """Write the line of each finished trial, in their order, to `folder/trials.jsonl`."""
    finished = [trial for trial in trials if outcome_of(trial) not in (RUNNING, WAITING)]
    write_whole(folder / TRIALS, "".join(json.dumps(row_of(trial)) + "\n" for trial in finished))


def ranked(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that trained a graph, the best first; on a front, by AP."""
    trained = [trial for trial in study.get_trials(deepcopy=False) if outcome_of(trial) == TRAINED]
    return sorted(trained, key=lambda trial: -trial.values[0])


def best_of(study: optuna.Study, count: int) -> list[FrozenTrial]:
    """Return the trials of the best graphs, or of all graphs on the Pareto front, the best AP first."""
    if len(study.directions) == 1:
        return ranked(study)[:count]
    front = {trial.number for trial in study.best_trials}
    return [trial for trial in ranked(study) if trial.number in front]


def graph_of(config: SearchConfig, trial: FrozenTrial) -> ArchitectureSpec:
    """Return the graph of a trial."""
    return config.search_space().decode(trial.params)


def write_best(folder: Path, config: SearchConfig, study: optuna.Study) -> list[Path]:
    """Write the best graphs to `folder/best/1.yaml` and so on, which configs and `register` take; remove older ones."""
    target = folder / BEST
    target.mkdir(exist_ok=True)
    paths = []
    for place, trial in enumerate(best_of(study, config.best), start=1):
        paths.append(target / f"{place}.yaml")
        graph_of(config, trial).save(paths[-1])
    for old in set(target.glob("*.yaml")) - set(paths):
        old.unlink()
    return paths
