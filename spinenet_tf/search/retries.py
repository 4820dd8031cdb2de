"""Queue the trials of killed and interrupted processes again."""

from __future__ import annotations

from datetime import datetime, timedelta

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from spinenet_tf.search.outcomes import origin_of

NEVER_BEGAN = timedelta(seconds=60)  # a trial that has no worker after this time lost it before it could say so


def requeue(study: optuna.Study, trial: FrozenTrial, *, limit: int | None) -> None:
    """Queue a failed trial's graph again; with `limit`, only if its process was killed at most so often."""
    kills = trial.user_attrs.get("kills", 0) + (limit is not None)
    if limit is not None and kills > limit:
        return
    attributes = {"origin": origin_of(trial), "retry_of": trial.number, "kills": kills}
    again = optuna.create_trial(
        state=TrialState.WAITING, params=trial.params, distributions=trial.distributions, user_attrs=attributes
    )
    study.add_trial(again)


def fail_and_requeue(study: optuna.Study, trial: FrozenTrial, *, limit: int) -> None:
    """End the trial of a killed process and queue its graph again, unless another process just did so."""
    try:
        study.tell(trial.number, state=TrialState.FAIL)
    except (ValueError, UpdateFinishedTrialError):  # it has ended: only one process gets here for each trial
        return
    requeue(study, trial, limit=limit)


def never_began(trial: FrozenTrial) -> bool:
    """Return whether a running trial's process was killed before it recorded its worker."""
    start = trial.datetime_start
    return "worker" not in trial.user_attrs and start is not None and datetime.now() - start > NEVER_BEGAN
