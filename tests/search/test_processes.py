"""Several processes share one search; one that is killed loses nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
import synthetic

from spinenet_tf.search.outcomes import STOPPED, count_outcomes, outcome_of
from spinenet_tf.search.searching import Progress, load_search, run_search
from spinenet_tf.search.stores import database_url, open_store
from spinenet_tf.search.worker import SearchError

pytestmark = pytest.mark.unseeded


class KillOne:
    """A `watch` that kills one worker while it trains."""

    def __init__(self, trainings: Path):
        self.trainings, self.killed = trainings, 0
        self.last: Progress | None = None

    def __call__(self, progress: Progress) -> None:
        self.last = progress
        marks = [] if self.killed else list(self.trainings.glob("*.pid"))
        if marks:
            self.killed = int(marks[0].stem)
            os.kill(self.killed, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["journal", "postgres"])
def test_two_processes_share_a_search_and_the_trial_of_a_killed_one_is_retried(tmp_path, request, storage):
    where = None if storage == "journal" else request.getfixturevalue("postgres")
    watch = KillOne(tmp_path / "run" / "trainings")
    searched = synthetic.config(name=f"kill-{storage}", trials=4, heartbeat=2)
    found = run_search(searched, tmp_path / "run", storage=where, workers=2, watch=watch, train=synthetic.slow_score)
    trials, counts = found.study.trials, count_outcomes(found.study.trials)
    assert watch.killed
    assert (counts["trained"], counts["running"], counts["waiting"]) == (4, 0, 0)
    stopped = [trial for trial in trials if outcome_of(trial) == STOPPED]
    assert stopped  # more than one, if a busy machine misses heartbeats
    for trial in stopped:
        (again,) = [other for other in trials if other.user_attrs.get("retry_of") == trial.number]
        assert again.params == trial.params
        assert again.user_attrs["kills"] == trial.user_attrs.get("kills", 0) + 1
    graphs = [trial.user_attrs["graph"] for trial in trials if trial.value is not None]
    assert len(set(graphs)) == 4
    assert len({trial.user_attrs["worker"] for trial in trials}) >= 2
    assert watch.last is not None
    assert watch.last.best == max(trial.value for trial in trials if trial.value is not None)
    assert found.report.is_file()


def test_a_trial_is_not_retried_for_ever(tmp_path):
    searched = synthetic.config(retries=1)
    store, study, _ = synthetic.new_study(tmp_path, searched)
    for kills in range(3):
        waiting = study.get_trials(states=(optuna.trial.TrialState.WAITING,))
        assert len(waiting) == (kills == 1)
        if kills < 2:
            study.ask().set_user_attr("worker", 9)  # of which no process holds the lock
        store.requeue_stopped(study)
    assert len(study.trials) == 2


def test_the_trial_of_a_living_worker_is_left_alone(tmp_path):
    store, study, _ = synthetic.new_study(tmp_path, synthetic.config())
    with store.working(5):
        study.ask().set_user_attr("worker", 5)
        store.requeue_stopped(study)
        assert len(study.trials) == 1
        with pytest.raises(RuntimeError, match="Another process is worker 5"), store.working(5):
            pass
    store.requeue_stopped(study)
    assert [trial.state.name for trial in study.trials] == ["FAIL", "WAITING"]


@pytest.mark.slow
def test_resume_goes_on_after_kill_9_of_all_processes(tmp_path):
    code = (
        "import synthetic, sys; from spinenet_tf.search.searching import run_search\n"
        "if __name__ == '__main__': run_search(synthetic.config(trials=4), sys.argv[1], train=synthetic.slow_score)"
    )
    (tmp_path / "main.py").write_text(code)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    run = tmp_path / "run"
    parent = subprocess.Popen([sys.executable, tmp_path / "main.py", run], env=environment)
    child = _wait_for_a_training(run / "trainings", parent)
    parent.kill()
    os.kill(child, signal.SIGKILL)
    parent.wait()
    assert any(trial.state.name == "RUNNING" for trial in load_search(run)[1].trials)
    with pytest.raises(FileExistsError, match="Pass --resume"):
        run_search(synthetic.config(trials=4), run, train=synthetic.score)
    found = run_search(synthetic.config(trials=4), run, resume=True, train=synthetic.score)
    counts = count_outcomes(found.study.trials)
    assert (counts["trained"], counts["stopped"], counts["running"]) == (4, 1, 0)


def _wait_for_a_training(folder: Path, parent: subprocess.Popen) -> int:
    """Return the id of the process that trains."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        assert parent.poll() is None
        if marks := list(folder.glob("*.pid")):
            return int(marks[0].stem)
        time.sleep(0.1)
    raise AssertionError("no training began")


def test_the_error_of_a_worker_reaches_the_caller(tmp_path):
    with pytest.raises(SearchError, match=r"2 trainings in a row failed, .* with OSError: no space left"):
        run_search(synthetic.config(max_failures=2), tmp_path / "run", train=synthetic.fails)


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("postgresql://me@host/db", "postgresql+psycopg://me@host/db"),
        ("postgres://me@host/db", "postgresql+psycopg://me@host/db"),
        ("postgresql+asyncpg://host/db", "postgresql+asyncpg://host/db"),
        ("sqlite:///study.db", "sqlite:///study.db"),
    ],
)
def test_a_postgresql_url_gets_the_driver_that_the_package_installs(given, used):
    assert database_url(given) == used


def test_a_database_that_cannot_be_reached_is_named(tmp_path):
    with pytest.raises(ValueError, match="The database of the study cannot be opened"):
        open_store(f"sqlite:///{tmp_path}/missing/study.db", "search", retries=1, heartbeat=60)
