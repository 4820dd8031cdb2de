"""How the trials of a study ended, and how many of the budget they used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from optuna.trial import FrozenTrial, TrialState

TRAINED = "trained"
PRUNED = "pruned"  # the training was stopped early, as hopeless
FAILED = "failed"  # the training raised an error, which the trial records
REPEATED = "repeated"  # an earlier trial has the same graph
REJECTED = "rejected"  # the space rejects this graph, which a user enqueued
OVER_LIMIT = "over limit"  # the graph costs more than allowed, and was not trained
SURPLUS = "surplus"  # other workers had just used up the budget
STOPPED = "stopped"  # the process was killed or interrupted; another trial has the same graph, if it is retried
RUNNING, WAITING = "running", "waiting"

OUTCOMES = (TRAINED, PRUNED, FAILED, REPEATED, REJECTED, OVER_LIMIT, SURPLUS, STOPPED, RUNNING, WAITING)
_USE_A_TRAINING = (TRAINED, PRUNED, FAILED)


def outcome_of(trial: FrozenTrial) -> str:
    """Return how a trial ended, one of `OUTCOMES`."""
    if not trial.state.is_finished():
        return RUNNING if trial.state == TrialState.RUNNING else WAITING
    outcome = trial.user_attrs.get("outcome", STOPPED)
    has_value = trial.state != TrialState.FAIL  # a process may be killed before it tells the value
    return outcome if has_value or outcome not in (TRAINED, PRUNED) else STOPPED


def origin_of(trial: FrozenTrial) -> int:
    """Return the number of the first trial with this graph, of which `trial` may be a retry."""
    return trial.user_attrs.get("origin", trial.number)


def count_outcomes(trials: Iterable[FrozenTrial]) -> dict[str, int]:
    """Return the number of trials by outcome, in the order of `OUTCOMES`."""
    found = Counter(map(outcome_of, trials))
    return {outcome: found[outcome] for outcome in OUTCOMES}


def used(trials: Sequence[FrozenTrial], before: int | None = None) -> int:
    """Return how many trials of the budget are used: those that trained, and those stopped that nobody retries.

    With `before`, only trials with a smaller number count.
    """
    retried = {trial.user_attrs.get("retry_of") for trial in trials}
    found = [(outcome_of(trial), trial.number in retried) for trial in trials[:before]]
    return sum(outcome in _USE_A_TRAINING or (outcome == STOPPED and not again) for outcome, again in found)


def reserved(trials: Sequence[FrozenTrial], before: int | None = None) -> int:
    """Return how many trials run or wait to be retried; with `before`, of those with a smaller number."""
    return sum(not trial.state.is_finished() for trial in trials[:before])
