"""Saving takes a small share of the time, and its end is never left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from spinenet_tf.training import pace, recipe
from spinenet_tf.training.config_file import read_config
from spinenet_tf.training.pace import Pace
from spinenet_tf.training.state import TrainingState


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """Return a list whose only value is the time in seconds."""
    now = [100.0]
    monkeypatch.setattr(pace.time, "monotonic", lambda: now[0])
    return now


def test_work_is_due_when_it_took_a_small_share_of_the_time(clock: list[float]) -> None:
    one = Pace()
    assert one.is_due()
    with one.timed():
        clock[0] += 3.0
    clock[0] += 96.9
    assert not one.is_due()
    clock[0] += 0.2
    assert one.is_due(), "3 s of 100 s"


def test_work_without_duration_is_always_due(clock: list[float]) -> None:
    one = Pace()
    with one.timed():
        pass
    assert one.is_due()


@pytest.mark.parametrize(("share", "saves"), [(1e-9, 2), (float("inf"), 4)])
def test_epochs_are_skipped_but_not_the_last(
    share: float, saves: int, tmp_path: Path, tiny_model, write_config, monkeypatch
) -> None:
    monkeypatch.setattr(pace, "SHARE", share)
    written: list[int] = []
    save = TrainingState.save
    monkeypatch.setattr(TrainingState, "save", lambda state: (written.append(state.clock.epoch), save(state))[1])
    options = ["epochs=4", "evaluate_every=4", "log_images=0"]
    run = recipe.train(read_config(write_config(tmp_path), options), tmp_path / "run")
    assert written == ([1, 4] if saves == 2 else [1, 2, 3, 4])
    assert [row["epoch"] for row in run.log] == [1, 2, 3, 4]
    assert max(run.states_folder.iterdir()).name.startswith("epoch-00004-batch-00000000")
    best, last = (run.load(path).get_weights() for path in (run.weights_path, run.last_weights_path))
    assert all((one == other).all() for one, other in zip(best, last, strict=True)), "both are those of the last epoch"
