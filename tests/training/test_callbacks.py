"""Callbacks on a mock model: what they write, and when."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from spinenet_tf.training.callbacks import EarlyStopping, JsonLog, SaveBest
from spinenet_tf.training.clock import Clock


@pytest.fixture
def saved(tmp_path: Path) -> SimpleNamespace:
    """Return a mock model that counts how often its weights are saved."""
    model = SimpleNamespace(paths=[], optimizer=SimpleNamespace(iterations=12))
    model.save_weights = lambda path, include_optimizer: model.paths.append(path)
    return model


def test_the_log_has_one_json_line_per_epoch_and_is_appended_to(tmp_path: Path, saved) -> None:
    path = tmp_path / "log.jsonl"
    for epoch in (0, 1):
        clock = Clock(steps=6)
        clock.set(1, 6)
        log = JsonLog(path, clock)
        log.set_model(saved)
        log.on_epoch_end(epoch, {"loss": 0.5, "val_AP": 0.25})
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row.pop("seconds") >= 0 for row in rows] == [True, True]
    assert rows == [{"epoch": epoch, "step": 12, "loss": 0.5, "val_AP": 0.25} for epoch in (1, 2)]


def save_best(saved, tmp_path: Path, rows, aps) -> list[int]:
    """Return the epochs after which the weights were saved."""
    callback, epochs = SaveBest(tmp_path / "best.weights.h5", rows), []
    callback.set_model(saved)
    for epoch, ap in enumerate(aps):
        before = len(saved.paths)
        callback.on_epoch_end(epoch, {} if ap is None else {"val_AP": ap})
        epochs += [epoch] * (len(saved.paths) - before)
    return epochs


def test_weights_are_saved_when_ap_is_the_highest_so_far(tmp_path: Path, saved) -> None:
    assert save_best(saved, tmp_path, [], [0.0, None, 0.0, 0.3, 0.2, 0.4]) == [0, 3, 5]
    assert set(saved.paths) == {tmp_path / "best.weights.h5"}


def test_a_resumed_run_remembers_its_best(tmp_path: Path, saved) -> None:
    rows = [{"epoch": 1, "val_AP": 0.1}, {"epoch": 2}, {"epoch": 3, "val_AP": 0.3}]
    assert save_best(saved, tmp_path, rows, [0.2, 0.35]) == [1]


def stopped_after(callback: EarlyStopping, aps) -> int | None:
    """Return the epoch (from 1) after which training stopped."""
    callback.set_model(SimpleNamespace(stop_training=False))
    for epoch, ap in enumerate(aps):
        callback.on_epoch_end(epoch, {} if ap is None else {"val_AP": ap})
        if callback.model.stop_training:
            return epoch + 1
    return None


def test_training_stops_after_so_many_evaluations_without_a_new_best() -> None:
    assert stopped_after(EarlyStopping("val_AP", 2), [0.1, 0.3, None, 0.3, None, 0.2, 0.5]) == 6
    assert stopped_after(EarlyStopping("val_AP", 2), [0.3, 0.1, 0.4, 0.2, 0.5]) is None
    assert stopped_after(EarlyStopping("val_AP", None), [0.3, 0.1, 0.1, 0.1]) is None


def test_early_stopping_counts_the_epochs_before_it_was_resumed() -> None:
    rows = [{"epoch": 1, "val_AP": 0.3}, {"epoch": 2}, {"epoch": 3, "val_AP": 0.1}]
    assert not EarlyStopping("val_AP", 2, rows).is_due()
    assert stopped_after(EarlyStopping("val_AP", 2, rows), [0.2]) == 1
    assert EarlyStopping("val_AP", 2, [*rows, {"epoch": 4, "val_AP": 0.2}]).is_due(), "a stopped run stays stopped"
