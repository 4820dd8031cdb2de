"""Evaluate one trial of a study: decode its graph, claim it, measure its costs, train it, and record how it ended."""

from __future__ import annotations

import math
import shutil
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import optuna

from spinenet_tf.nets.specs import ArchitectureSpec
from spinenet_tf.search.config import SearchConfig
from spinenet_tf.search.costs import measured
from spinenet_tf.search.objective import Cost, value_of
from spinenet_tf.search.outcomes import (
    FAILED,
    OVER_LIMIT,
    PRUNED,
    REJECTED,
    REPEATED,
    SURPLUS,
    TRAINED,
    reserved,
    used,
)
from spinenet_tf.search.proxy import count_costs
from spinenet_tf.search.samplers import suggest
from spinenet_tf.search.space import RejectedArchitecture, SearchSpace, fingerprint
from spinenet_tf.search.stores import Store
from spinenet_tf.tasks import TASKS
from spinenet_tf.training.datasets import with_classes_of
from spinenet_tf.training.preemption import Preempted

Train = Callable[..., float]  # as `proxy.train_proxy`
Values = float | tuple[float, ...]
_LONGEST = 4000  # characters of a traceback


class Skipped(Exception):
    """The trial's graph is not trained, which says nothing about its value: the trial fails, and samplers ignore it."""

    def __init__(self, outcome: str, reason: str):
        super().__init__(reason)
        self.outcome = outcome


class Refused(optuna.TrialPruned):
    """The trial's graph is not trained, and violates a constraint, from which samplers learn."""

    def __init__(self, outcome: str, reason: str):
        super().__init__(reason)
        self.outcome = outcome


@dataclass
class TrialFunction:
    """Optuna's objective function for one worker."""

    config: SearchConfig
    study: optuna.Study
    store: Store
    folder: Path  # of the trainings
    worker: int
    train: Train

    def __post_init__(self) -> None:
        self.space: SearchSpace = self.config.search_space()
        proxy = self.config.proxy  # with classes, so that nothing but a training reads data
        self.proxy = proxy if proxy.class_names else with_classes_of(proxy, proxy.own_data().read("val"))
        self.last: int | None = None  # the number of the trial that began last

    def __call__(self, trial: optuna.Trial) -> Values:
        """Return the trial's value or values.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed or SIGTERM arrived.
            optuna.TrialPruned: the training was hopeless, or the graph is refused.
            Exception: the graph is skipped, or the training failed.
        """
        self.last = trial.number
        trial.set_user_attr("worker", self.worker)
        try:
            return self._evaluate(trial)
        except Preempted as stop:
            raise KeyboardInterrupt(str(stop)) from stop
        except (Skipped, Refused) as end:
            _end(trial, end.outcome, reason=str(end))
            raise
        except optuna.TrialPruned:
            _end(trial, PRUNED)
            raise
        except Exception as error:
            told = {"type": type(error).__name__, "message": str(error)[:_LONGEST]}
            _end(trial, FAILED, error=told | {"traceback": traceback.format_exc()[-_LONGEST:]})
            raise

    def _evaluate(self, trial: optuna.Trial) -> Values:
        self._check_budget(trial)
        spec, key = self._decode(trial)
        self._claim(trial, key)
        costs = self._measure(trial, spec)
        start = time.perf_counter()
        run = self.folder / key
        try:
            report = ReportAP(trial, self.config, costs)
            ap = float(self.train(self.config.proxy, spec, run, seed=self.config.proxy.seed, callbacks=[report]))
        except (KeyboardInterrupt, Preempted):
            raise  # the folder is resumed
        except Exception:
            self._remove(run)
            raise
        self._remove(run)
        if not math.isfinite(ap):
            raise ValueError(f"The training ended with AP {ap}.")
        _end(trial, TRAINED, AP=ap, seconds=round(time.perf_counter() - start, 1))
        return value_of(self.config.objective, ap, costs)

    def _check_budget(self, trial: optuna.Trial) -> None:
        """Skip the trial if earlier ones use up the budget; this is exact, since trials have one order."""
        trials = self.study.get_trials(deepcopy=False)
        if used(trials, trial.number) + reserved(trials, trial.number) >= self.config.trials:
            raise Skipped(SURPLUS, f"{self.config.trials} trials are done or running.")

    def _decode(self, trial: optuna.Trial) -> tuple[ArchitectureSpec, str]:
        """Return the trial's graph, and a name that only equal graphs share."""
        try:
            spec = self.space.decode(suggest(trial, self.space))
        except RejectedArchitecture as error:  # of a trial that a user enqueued: samplers propose no such graph
            raise Skipped(REJECTED, str(error)) from error
        key = fingerprint(spec)
        trial.set_user_attr("graph", key)
        return spec, key

    def _claim(self, trial: optuna.Trial, key: str) -> None:
        """Claim a graph for the trial and its retries, or skip it: another trial has it, finished or not."""
        origin = str(trial.user_attrs.get("origin", trial.number))
        if (owner := self.store.claims.take(f"graph-{key}", origin)) != origin:
            raise Skipped(REPEATED, f"Trial {owner} has this graph.")

    def _measure(self, trial: optuna.Trial, spec: ArchitectureSpec) -> list[Cost]:
        """Record all costs; refuse the graph at the first one over its limit."""
        trial.set_user_attr("proxy", asdict(count_costs(self.proxy, spec)))
        objective, costs = self.config.objective, []
        for cost in measured(objective.costs, spec, self.proxy, self.folder.parent / "references"):
            costs.append(cost)
            trial.set_user_attr("costs", {found.kind: found.to_dict() for found in costs})
            if objective.kind == "limit":
                trial.set_constraint(cost.kind, cost.relative - 1)
                if cost.relative > 1:
                    raise Refused(OVER_LIMIT, f"{cost.kind} is {cost.relative:.3f} of the limit.")
        return costs

    def _remove(self, run: Path) -> None:
        if not self.config.keep_runs:
            shutil.rmtree(run, ignore_errors=True)


class ReportAP(keras.callbacks.Callback):
    """Report the value after each evaluation, and stop a training that the study's pruner considers hopeless."""

    def __init__(self, trial: optuna.Trial, config: SearchConfig, costs: list[Cost]):
        super().__init__()
        self.trial, self.config, self.costs = trial, config, costs
        self.monitor = f"val_{TASKS[config.proxy.task].monitor}"

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        ap = (logs or {}).get(self.monitor)
        if ap is None or self.config.objective.kind == "front":  # Optuna prunes with one objective only
            return
        value: Any = value_of(self.config.objective, float(ap), self.costs)  # one number, as it is no front
        self.trial.report(value, epoch + 1)
        if epoch + 1 < self.config.proxy.epochs and self.trial.should_prune():
            raise optuna.TrialPruned(f"{self.monitor} is {ap:.4f} after epoch {epoch + 1}.")


def _end(trial: optuna.Trial, outcome: str, **facts: Any) -> None:
    for name, value in (facts | {"outcome": outcome}).items():
        trial.set_user_attr(name, value)
