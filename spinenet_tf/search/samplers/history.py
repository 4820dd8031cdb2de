"""The finished trials of a study, as samplers that learn from them need them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from spinenet_tf.search.space import SearchSpace

_STATES = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True)
class Result:
    """A finished trial."""

    number: int
    values: Mapping[str, int]  # of the space's parameters
    scores: tuple[float, ...]  # one per objective, higher is better; none if the trial has no value
    violation: float  # sum of the constraints above 0; 0 if the trial is feasible


def results(study: Study, space: SearchSpace) -> list[Result]:
    """Return the trials that have values or violate a constraint, in the order in which they ended.

    A pruned trial has the last value that it reported. Failed trials are left out, and so are pruned ones that reported
    nothing, such as repeated graphs.
    """
    trials = [trial for trial in study.get_trials(deepcopy=False, states=_STATES) if trial.datetime_complete]
    trials.sort(key=lambda trial: (trial.datetime_complete, trial.number))
    names, signs = space.parameters().keys(), [_SIGNS[direction] for direction in study.directions]
    found = [_result(trial, signs) for trial in trials if names <= trial.params.keys()]
    return [result for result in found if result.scores or result.violation]


def dominates(first: Result, second: Result) -> bool:
    """Return whether a result is better: it violates constraints less, or equally and is better in the scores.

    With several objectives, better means that no score is lower and one is higher.
    """
    if first.violation != second.violation:
        return first.violation < second.violation
    pairs = list(zip(first.scores, second.scores, strict=True))
    return all(own >= other for own, other in pairs) and any(own > other for own, other in pairs)


_SIGNS = {StudyDirection.MAXIMIZE: 1.0, StudyDirection.MINIMIZE: -1.0}


def _result(trial: FrozenTrial, signs: list[float]) -> Result:
    values = trial.values if trial.values and all(map(math.isfinite, trial.values)) else []
    scores = tuple(sign * value for sign, value in zip(signs, values, strict=False))
    violation = sum(max(0.0, constraint) for constraint in trial.constraints.values())
    return Result(trial.number, trial.params, scores, violation)
