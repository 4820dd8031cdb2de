"""Samplers draw what they promise, learn, share a study between processes, and go on after a stop."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from itertools import repeat
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from scipy.stats import chisquare
from small_space import ALL_VALUES, SMALL

from benchmarks.samplers import TARGET, likeness, objective
from spinenet_tf.search.samplers import REJECTED_DRAWS, SAMPLERS, make_sampler, suggest
from spinenet_tf.search.samplers.base import LOOSENED, PATIENCE, SpaceSampler, accepts
from spinenet_tf.search.samplers.history import dominates, results
from spinenet_tf.search.spaces import SPACES

PAPER = SPACES["spinenet"]
OPTIONS = {"evolution": {"population": 10, "sample": 5}, "tpe": {"startup": 5}}
ROOT = Path(__file__).parents[2]
WORKER = """
import sys
import optuna
from test_samplers import run_worker
run_worker(sys.argv[1])
"""

optuna.logging.set_verbosity(optuna.logging.WARNING)
pytestmark = pytest.mark.unseeded


def sampler_of(name: str, space=SMALL, seed: int | None = 0):
    return make_sampler(name, space, seed, **OPTIONS.get(name, {}))


def total(trial: optuna.Trial) -> float:
    """Return the sum of a trial's values, which determines it."""
    return float(sum(suggest(trial, SMALL).values()))


def drawn(study: optuna.Study) -> list[dict[str, int]]:
    return [trial.params for trial in study.trials]


def test_random_graphs_are_uniform():
    """Rejected draws are repeated: each graph is as frequent as the number of accepted values that mean it."""
    accepted = Counter(SMALL.decode(values).name for values in ALL_VALUES if accepts(SMALL, values))
    study = optuna.create_study(sampler=sampler_of("random"))
    found = Counter(SMALL.decode(suggest(study.ask(), SMALL)).name for _ in range(1500))
    assert found.keys() == accepted.keys()
    expected = np.array([accepted[name] for name in accepted]) * 1500 / accepted.total()
    assert expected.min() > 5
    assert chisquare([found[name] for name in accepted], expected).pvalue > 0.01


def test_rejected_draws_are_counted():
    rejected = sum(not accepts(SMALL, values) for values in ALL_VALUES) / len(ALL_VALUES)
    study = optuna.create_study(sampler=sampler_of("random"))
    study.optimize(total, n_trials=400)
    counted = sum(trial.user_attrs[REJECTED_DRAWS] for trial in study.trials)
    draws = counted + 400
    assert abs(counted / draws - rejected) < 3 * (rejected * (1 - rejected) / draws) ** 0.5


class Stubborn(SpaceSampler):
    """Propose the same values again and again."""

    def proposals(self, study, trial, random):
        return repeat(next(values for values in ALL_VALUES if not accepts(SMALL, values)))


def test_a_sampler_that_proposes_only_rejected_graphs_draws_more_and_more_decisions_uniformly():
    study = optuna.create_study(sampler=Stubborn(SMALL, 0))
    study.optimize(total, n_trials=20)
    assert all(PATIENCE < trial.user_attrs[REJECTED_DRAWS] < LOOSENED + 20 for trial in study.trials)


def test_a_space_that_rejects_everything_is_an_error(monkeypatch):
    monkeypatch.setattr("spinenet_tf.search.samplers.base.accepts", lambda space, values: False)
    study = optuna.create_study(sampler=sampler_of("random"))
    with pytest.raises(RuntimeError, match="Space 'small' rejected 1000 proposals of UniformSampler in a row"):
        suggest(study.ask(), SMALL)


def searched(name: str, trials: int, **options) -> list[float]:
    """Return the values of trials in the paper's space; the function is 1 for SpineNet-49."""
    study = optuna.create_study(direction="maximize", sampler=make_sampler(name, PAPER, 0, **options))
    study.optimize(objective(0), n_trials=trials)
    return [trial.value for trial in study.trials]


@pytest.fixture(scope="module")
def at_random() -> list[float]:
    return searched("random", 200)


@pytest.mark.parametrize(
    ("name", "options", "trials", "margin"),
    [
        ("evolution", {"population": 20, "sample": 5}, 200, 0.15),
        ("policy_gradient", {}, 200, 0.15),
        ("tpe", {}, 60, 0.05),
    ],
)
def test_a_sampler_that_learns_beats_random_search(at_random, name, options, trials, margin):
    values = searched(name, trials, **options)
    assert np.mean(values[-20:]) > np.mean(at_random) + margin
    assert max(values) > max(at_random[:trials])


def test_the_function_is_largest_at_its_target():
    assert likeness(TARGET) == 1.0


@pytest.mark.parametrize("name", ["evolution", "policy_gradient"])
def test_samplers_minimize_too(name):
    study = optuna.create_study(direction="minimize", sampler=sampler_of(name))
    study.optimize(total, n_trials=80)
    values = [trial.value for trial in study.trials]
    assert np.mean(values[-20:]) < np.mean(values[:10]) - 1


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_new_sampler_continues_a_study_as_if_it_had_never_stopped(name):
    whole = optuna.create_study(direction="maximize", sampler=sampler_of(name))
    whole.optimize(total, n_trials=40)
    stopped = optuna.create_study(direction="maximize", sampler=sampler_of(name))
    stopped.optimize(total, n_trials=23)
    stopped.sampler = sampler_of(name)
    stopped.optimize(total, n_trials=17)
    assert drawn(stopped) == drawn(whole)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_seed_repeats_a_study_and_no_seed_does_not(name):
    studies = [optuna.create_study(sampler=sampler_of(name, PAPER, seed)) for seed in (1, 1, 2, None, None)]
    first, same, *others = (PAPER.decode(suggest(study.ask(), PAPER)).name for study in studies)
    assert first == same
    assert len({first, *others}) == 4


def journal(path: str) -> JournalStorage:
    return JournalStorage(JournalFileBackend(path))


def run_worker(path: str, trials: int = 12) -> None:
    """Run trials of one study per sampler, all of the same seed, in one journal."""
    for name in SAMPLERS:
        study = optuna.create_study(
            study_name=name, storage=journal(path), direction="maximize", sampler=sampler_of(name), load_if_exists=True
        )
        study.optimize(total, n_trials=trials)


def test_two_processes_share_a_study(tmp_path):
    path = str(tmp_path / "journal.log")
    command = [sys.executable, "-c", WORKER, path]
    paths = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), str(ROOT)])}
    with subprocess.Popen(command, env=os.environ | paths) as other:
        run_worker(path)
    assert other.returncode == 0
    for name in SAMPLERS:
        study = optuna.load_study(study_name=name, storage=journal(path))
        assert [trial.number for trial in study.trials] == list(range(24))
        assert all(trial.state == TrialState.COMPLETE for trial in study.trials)
        assert all(REJECTED_DRAWS in trial.user_attrs for trial in study.trials)
        ours, theirs = (_next_of(shutil.copy(path, f"{path}-{copy}"), name) for copy in range(2))
        assert ours == theirs, "both know all trials"


def _next_of(path: str, name: str) -> dict[str, int]:
    """Return what a process that has just started draws for the next trial."""
    study = optuna.load_study(study_name=name, storage=journal(path), sampler=sampler_of(name))
    return suggest(study.ask(), SMALL)


@pytest.mark.parametrize("name", SAMPLERS)
def test_failed_pruned_and_infeasible_trials_do_not_stop_a_sampler(name):
    def faulty(trial: optuna.Trial) -> float:
        value = total(trial)
        if trial.number % 4 == 1:
            raise OSError("the disk is full")
        if trial.number % 4 == 2:
            trial.report(value / 2, step=1)
            raise optuna.TrialPruned
        if trial.number % 4 == 3:
            trial.set_constraint("limit", 1.0)
            raise optuna.TrialPruned
        return value

    study = optuna.create_study(direction="maximize", sampler=sampler_of(name))
    study.optimize(faulty, n_trials=48, catch=OSError)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "FAIL", "PRUNED", "PRUNED"] * 12
    assert all(accepts(SMALL, trial.params) for trial in study.trials)
    found = results(study, SMALL)
    assert [result.number % 4 for result in found] == [0, 2, 3] * 12
    assert found[1].scores == (sum(found[1].values.values()) / 2,), "a pruned trial has the last value that it reported"
    assert [(result.scores, result.violation) for result in found[2::3]] == [((), 1.0)] * 12


def test_a_pruned_trial_that_reported_nothing_is_no_result():
    study = optuna.create_study(sampler=sampler_of("random"))
    suggest(trial := study.ask(), SMALL)
    study.tell(trial, state=TrialState.PRUNED)
    assert results(study, SMALL) == []


@pytest.mark.parametrize("name", ["evolution", "policy_gradient"])
def test_samplers_learn_a_constraint(name):
    """The best values are forbidden: those of `node4_parents` above 2, which half of uniform trials have."""

    def limited(trial: optuna.Trial) -> float:
        value = total(trial)
        trial.set_constraint("limit", trial.params["node4_parents"] - 2.0)
        return value

    study = optuna.create_study(direction="maximize", sampler=sampler_of(name))
    study.optimize(limited, n_trials=120)
    infeasible = [trial.params["node4_parents"] > 2 for trial in study.trials]
    assert np.mean(infeasible[-40:]) < 0.3
    values = [trial.value for trial in study.trials if trial.params["node4_parents"] <= 2]
    assert np.mean(values[-20:]) > np.mean(values[:10])


def test_evolution_prefers_what_no_other_dominates():
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler_of("evolution"))
    study.optimize(lambda trial: (total(trial), float(trial.params["node4_parents"])), n_trials=100)
    found = results(study, SMALL)
    assert all(result.scores[1] == -result.values["node4_parents"] for result in found)
    worse, best = min(found, key=lambda one: one.scores), max(found, key=lambda one: one.scores)
    assert not dominates(best, best)
    assert not dominates(worse, best)
    dominated = [sum(dominates(other, one) for other in found) for one in found]
    assert np.mean(dominated[-30:]) < 0.6 * np.mean(dominated[:10])


def test_a_policy_starts_again_if_another_process_has_reported_an_earlier_trial():
    study = optuna.create_study(direction="maximize", sampler=sampler_of("policy_gradient"))
    study.optimize(total, n_trials=20)
    suggest(study.ask(), SMALL)  # the sampler has learned from all 20
    late = optuna.trial.create_trial(
        params=study.trials[3].params, distributions=study.trials[3].distributions, value=-50.0
    )
    late.datetime_complete = study.trials[3].datetime_complete
    study.add_trial(late)
    number_22 = study.ask()
    fresh = sampler_of("policy_gradient").sample_relative(study, study.trials[-1], {})
    assert suggest(number_22, SMALL) == fresh


def test_the_policy_gradient_needs_one_objective():
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler_of("policy_gradient"))
    with pytest.raises(ValueError, match=r"needs one objective.* Received: 2 objectives"):
        suggest(study.ask(), SMALL)


def test_another_parameter_is_refused():
    study = optuna.create_study(sampler=sampler_of("random"))
    with pytest.raises(ValueError, match=r"Space 'small' has no such parameter. Received: 'learning_rate'"):
        study.ask().suggest_float("learning_rate", 0, 1)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("evolutoin", {}, r"Unknown sampler 'evolutoin'. Did you mean 'evolution'\?"),
        ("evolution", {"populaton": 3}, r"Unknown option 'populaton'. Did you mean 'population'\?"),
        ("evolution", {"population": 1}, "population must be a whole number at least 2. Received: population=1"),
        ("evolution", {"population": 5}, "`sample` must be at most `population`. Received: sample=10, population=5"),
        ("policy_gradient", {"learning_rate": 0}, "learning_rate must be a number above 0"),
        ("tpe", {"constant_liar": 1}, "constant_liar must be true or false"),
        ("random", {"sample": 1}, "Unknown option 'sample'"),
    ],
)
def test_invalid_samplers_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        make_sampler(name, SMALL, 0, **options)
