"""One worker: budget, repeats, failures, pruning, limits, interruption and resumption."""

from __future__ import annotations

from itertools import pairwise

import pytest
import synthetic

from spinenet_tf.search import trial_function, worker
from spinenet_tf.search.objective import Cost
from spinenet_tf.search.outcomes import count_outcomes, outcome_of, used
from spinenet_tf.search.results import ranked, row_of
from spinenet_tf.search.worker import SearchError, work
from spinenet_tf.training.preemption import Preempted

pytestmark = [pytest.mark.unseeded, pytest.mark.usefixtures("without_costs")]


def carry_out(folder, searched, train=synthetic.score, **options):
    """Let one worker work, and return the study's trials."""
    _, study, where = synthetic.new_study(folder, searched)
    work(searched, where, folder / "trainings", train=train, **options)
    return study.trials


def outcomes(trials) -> dict[str, int]:
    return {name: count for name, count in count_outcomes(trials).items() if count}


def test_a_worker_trains_as_many_graphs_as_the_budget_says(tmp_path):
    trials = carry_out(tmp_path, synthetic.config(trials=5))
    assert outcomes(trials) == {"trained": 5}
    assert [trial.value for trial in trials] == [trial.user_attrs["AP"] for trial in trials]
    assert len({trial.user_attrs["graph"] for trial in trials}) == 5
    assert trials[0].user_attrs["proxy"] == {"parameters": 1000, "multiply_adds": 2000}


def test_the_same_seed_gives_the_same_search_and_another_seed_another_one(tmp_path):
    found = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / name).mkdir()
        found.append([trial.params for trial in carry_out(tmp_path / name, synthetic.config(seed=seed))])
    assert found[0] == found[1] != found[2]


def test_a_search_goes_on_with_a_larger_budget_and_trains_no_graph_twice(tmp_path):
    carry_out(tmp_path, synthetic.config(trials=3))
    trials = carry_out(tmp_path, synthetic.config(trials=6))
    assert outcomes(trials) == {"trained": 6}
    assert len({trial.user_attrs["graph"] for trial in trials}) == 6


def test_a_repeated_graph_is_not_trained_again(tmp_path):
    trained = []

    def train(proxy, spec, folder, **options):
        trained.append(spec)
        return synthetic.score(proxy, spec, folder, **options)

    searched = synthetic.config(trials=3)
    _, study, where = synthetic.new_study(tmp_path, searched)
    work(searched, where, tmp_path, train=train, most=1)
    study.enqueue_trial(study.trials[0].params)
    work(searched, where, tmp_path, train=train)
    assert outcomes(study.trials) == {"trained": 3, "repeated": 1}
    assert len(trained) == 3
    assert study.trials[1].value is None
    assert study.trials[1].user_attrs["reason"] == "Trial 0 has this graph."


def test_a_worker_ends_if_it_finds_no_new_graph(tmp_path):
    searched = synthetic.config(trials=2, max_skipped=3)
    _, study, where = synthetic.new_study(tmp_path, searched)
    work(searched, where, tmp_path, train=synthetic.score, most=1)
    for _ in range(3):
        study.enqueue_trial(study.trials[0].params)
    with pytest.raises(SearchError, match=r"3 graphs in a row were not trained, .* Trial 0 has this graph"):
        work(searched, where, tmp_path, train=synthetic.score)


def test_a_failed_training_is_recorded_and_does_not_stop_the_search(tmp_path):
    def train(proxy, spec, folder, **options):
        folder.mkdir(parents=True)
        calls.append(folder)
        if len(calls) == 2:
            raise MemoryError("out of memory")
        return float("nan") if len(calls) == 3 else 0.5

    calls: list = []
    trials = carry_out(tmp_path, synthetic.config(trials=4), train)
    assert outcomes(trials) == {"trained": 2, "failed": 2}
    error = trials[1].user_attrs["error"]
    assert (error["type"], error["message"]) == ("MemoryError", "out of memory")
    assert "test_worker.py" in error["traceback"]
    assert row_of(trials[1])["error"] == {"type": "MemoryError", "message": "out of memory"}
    assert trials[2].user_attrs["error"]["message"] == "The training ended with AP nan."
    assert not any(folder.exists() for folder in calls)


def test_many_failures_in_a_row_end_the_worker_with_the_error(tmp_path):
    def train(*arguments, **options):
        raise OSError("no data")

    with pytest.raises(SearchError, match=r"3 trainings in a row failed, .* trial 2, with OSError: no data"):
        carry_out(tmp_path, synthetic.config(trials=9, max_failures=3), train)


def test_hopeless_trainings_are_stopped_early_but_not_in_their_last_epoch(tmp_path):
    values = iter([0.5, 0.6, 0.1, 0.7])
    ended = []

    def train(proxy, spec, folder, *, seed, callbacks):
        value = next(values)
        for epoch in range(3):
            for callback in callbacks:
                callback.on_epoch_end(epoch, {"val_AP": value})
        ended.append(value)
        return value

    proxy = synthetic.PROXY | {"epochs": 3}
    pruning = {"keep": 0.5, "startup": 2, "warmup": 1}
    trials = carry_out(tmp_path, synthetic.config(proxy=proxy, pruning=pruning), train)
    assert outcomes(trials) == {"trained": 3, "pruned": 1}
    assert ended == [0.5, 0.6, 0.7]
    assert trials[2].intermediate_values == {1: 0.1}
    assert row_of(trials[3])["curve"] == {"1": 0.7, "2": 0.7, "3": 0.7}


COST = {"kind": "multiply_adds", "target": 100.0}


@pytest.fixture
def costs(monkeypatch):
    """Let graphs cost 50, 150, 50, 150, ... of 100."""
    drawn = iter(range(1000))

    def measured(costs, spec, proxy, folder):
        yield Cost("multiply_adds", 150.0 if next(drawn) % 2 else 50.0, 100.0)

    monkeypatch.setattr(trial_function, "measured", measured)


@pytest.mark.usefixtures("costs")
def test_graphs_over_the_limit_are_not_trained(tmp_path):
    trials = carry_out(tmp_path, synthetic.config(trials=2, objective={"kind": "limit", "costs": [COST]}))
    assert [outcome_of(trial) for trial in trials] == ["trained", "over limit", "trained"]
    assert trials[1].constraints == {"multiply_adds": 0.5}
    assert trials[1].user_attrs["costs"] == {"multiply_adds": {"value": 150.0, "target": 100.0}}


@pytest.mark.usefixtures("costs")
def test_a_product_lowers_the_value_of_graphs_that_cost_more_than_the_target(tmp_path):
    objective = {"kind": "product", "costs": [COST], "weight": 0.5}
    trials = carry_out(tmp_path, synthetic.config(trials=2, objective=objective))
    aps = [trial.user_attrs["AP"] for trial in trials]
    assert [trial.value for trial in trials] == pytest.approx([aps[0], aps[1] * (100 / 150) ** 0.5])


@pytest.mark.usefixtures("costs")
def test_a_front_has_the_cost_as_second_value(tmp_path):
    trials = carry_out(tmp_path, synthetic.config(trials=2, objective={"kind": "front", "costs": [COST]}))
    assert [trial.values for trial in trials] == [
        [trials[0].user_attrs["AP"], 0.5],
        [trials[1].user_attrs["AP"], 1.5],
    ]


@pytest.mark.parametrize("stop", [KeyboardInterrupt("Ctrl-C"), Preempted("SIGTERM")])
def test_an_interrupted_trial_is_queued_again_and_resumes_its_folder(tmp_path, stop):
    folders, searched = [], synthetic.config(trials=3)

    def train(proxy, spec, folder, **options):
        folders.append(folder)
        folder.mkdir(parents=True, exist_ok=True)
        if len(folders) == 2:
            raise stop
        return synthetic.score(proxy, spec, folder, **options)

    _, study, where = synthetic.new_study(tmp_path, searched)
    with pytest.raises(KeyboardInterrupt):
        work(searched, where, tmp_path / "trainings", train=train)
    assert outcomes(study.trials) == {"trained": 1, "stopped": 1, "waiting": 1}
    work(searched, where, tmp_path / "trainings", train=train)
    assert outcomes(study.trials) == {"trained": 3, "stopped": 1}
    assert study.trials[2].user_attrs["retry_of"] == 1
    assert study.trials[2].params == study.trials[1].params
    assert folders[2] == folders[1]
    assert used(study.trials) == 3


def test_trials_beyond_the_budget_that_others_use_are_skipped(tmp_path):
    searched = synthetic.config(trials=2)
    store, study, _ = synthetic.new_study(tmp_path, searched)
    with store.working(worker.new_number(store.claims)):
        for _ in range(2):
            study.ask().set_user_attr("worker", 0)
        work_ = trial_function.TrialFunction(searched, study, store, tmp_path, 1, synthetic.score)
        study.sampler = searched.new_sampler()
        study.optimize(work_, n_trials=1, catch=(Exception,))
    assert outcomes(study.trials) == {"surplus": 1, "running": 2}


def test_the_best_trials_come_first(tmp_path):
    searched = synthetic.config(trials=5)
    carry_out(tmp_path, searched)
    _, study, _ = synthetic.new_study(tmp_path, searched)
    assert all(first.value >= second.value for first, second in pairwise(ranked(study)))
