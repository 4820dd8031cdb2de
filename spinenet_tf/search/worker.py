"""One worker of a search: it asks the study for trials until the budget is used up."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from itertools import count
from pathlib import Path

import optuna

from spinenet_tf.search.claims import Claims
from spinenet_tf.search.config import PruningConfig, SearchConfig
from spinenet_tf.search.outcomes import FAILED, PRUNED, TRAINED, outcome_of, reserved, used
from spinenet_tf.search.proxy import train_proxy
from spinenet_tf.search.retries import requeue
from spinenet_tf.search.stores import open_store
from spinenet_tf.search.trial_function import TrialFunction

POLL = 0.5  # seconds between two looks at a study whose last trials run in other workers


class SearchError(RuntimeError):
    """A search that cannot go on: its trainings fail, or its sampler finds no new graph."""


def work(
    config: SearchConfig,
    where: str,
    folder: Path,
    *,
    train: Callable[..., float] = train_proxy,
    most: int | None = None,
) -> bool:
    """Carry out trials until the study has enough of them, and return True; return False after `most` trainings.

    `where` is the study's storage (see `stores.open_store`). Trainings are in subfolders of `folder`.

    Raises:
        SearchError: many trainings in a row failed, or many graphs in a row were not worth a training.
        KeyboardInterrupt: Ctrl-C was pressed or SIGTERM arrived; the trial is queued again.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    store = open_store(where, config.name, retries=config.retries, heartbeat=config.heartbeat)
    number = new_number(store.claims)
    study = optuna.load_study(
        study_name=config.name,
        storage=store.storage,
        sampler=config.new_sampler(),
        pruner=pruner_of(config.pruning),
    )
    function = TrialFunction(config, study, store, folder, number, train)
    with store.working(number):
        return _work(function, Streaks(config), most)


def _work(function: TrialFunction, streaks: Streaks, most: int | None) -> bool:
    study, config = function.study, function.config
    trained = 0
    while most is None or trained < most:
        function.store.requeue_stopped(study)
        trials = study.get_trials(deepcopy=False)
        if (done := used(trials)) >= config.trials:
            return True
        waits = any(trial.state == optuna.trial.TrialState.WAITING for trial in trials)
        if not waits and done + reserved(trials) >= config.trials:
            time.sleep(POLL)  # one of the running trials may have to be retried
            continue
        outcome = _carry_out_one(function)
        trained += outcome in (TRAINED, PRUNED, FAILED)
        streaks.note(outcome, _last(function))
    return False


def _carry_out_one(function: TrialFunction) -> str:
    """Carry out the next trial and return its outcome; an interrupted one is queued again."""
    study, function.last = function.study, None
    try:
        study.optimize(function, n_trials=1, catch=(Exception,))
    except KeyboardInterrupt:
        if function.last is not None:
            requeue(study, _last(function), limit=None)
        raise
    except Exception:
        # A machine that was suspended is taken for dead: its trial has ended, and was queued again.
        if function.last is None or not _last(function).state.is_finished():
            raise
    return outcome_of(_last(function))


def _last(function: TrialFunction) -> optuna.trial.FrozenTrial:
    assert function.last is not None
    return function.study.get_trials(deepcopy=False)[function.last]


class Streaks:
    """Count failures, and graphs that are not trained, in a row."""

    def __init__(self, config: SearchConfig):
        self.config, self.failed, self.skipped = config, 0, 0

    def note(self, outcome: str, trial: optuna.trial.FrozenTrial) -> None:
        """Count one more outcome.

        Raises:
            SearchError: the search cannot go on.
        """
        trains = outcome in (TRAINED, PRUNED)
        self.failed = 0 if trains else self.failed + (outcome == FAILED)
        self.skipped = 0 if trains or outcome == FAILED else self.skipped + 1
        if self.failed >= self.config.max_failures:
            error = trial.user_attrs["error"]
            raise SearchError(
                f"{self.failed} trainings in a row failed, the last one, trial {trial.number}, with {error['type']}: "
                f"{error['message']}"
            )
        if self.skipped >= self.config.max_skipped:
            raise SearchError(
                f"{self.skipped} graphs in a row were not trained, the last one, trial {trial.number}, because: "
                f"{trial.user_attrs.get('reason', outcome)} The space may have no other graphs."
            )


def new_number(claims: Claims) -> int:
    """Return a number that no worker of the study has or had, on any machine."""
    me = uuid.uuid4().hex
    return next(number for number in count() if claims.take(f"worker-{number}", me) == me)


def pruner_of(pruning: PruningConfig | None) -> optuna.pruners.BasePruner:
    """Return Optuna's pruner."""
    if pruning is None:
        return optuna.pruners.NopPruner()
    return optuna.pruners.PercentilePruner(
        100 * pruning.keep, n_startup_trials=pruning.startup, n_warmup_steps=pruning.warmup
    )
