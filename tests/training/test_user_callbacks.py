"""A user's callbacks in `spinenet_tf.train`: what they see, and that an exception or a stop leaves an exact run."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from functools import partialmethod
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import optuna
import optuna_integration
import pytest
from tensorflow.compat.v1.train import summary_iterator

import spinenet_tf
from spinenet_tf.data.formats.digits import digits
from spinenet_tf.heads.retinanet import RetinaNet
from spinenet_tf.nets.family import VARIANTS
from spinenet_tf.training import processes
from spinenet_tf.training.callback_list import StopTogether
from spinenet_tf.training.run import Run

STEPS = 3
# Everything with a memory but the slow parts: averages, momenta, accumulated gradients, warm-up and shuffling.
OVERRIDES = {
    "data.train.scenes": 7,
    "data.val.scenes": 2,
    "optimizer": {"name": "adam", "learning_rate": 0.64, "warmup_steps": 2, "ema": 0.9, "accumulate": 2},
    "batch_size": 2,
    "steps_per_epoch": STEPS,
    "model": {
        "name": "tiny",
        "image_size": [32, 32],
        "overrides": {"max_level": 3},
        "head": {"score_threshold": 0.001},
    },
    "log_images": 0,
}


@pytest.fixture(scope="module", autouse=True)
def _net_of_one_block(least_row) -> Iterator[None]:
    """Train eagerly: tracing a graph takes ten times as long as the few steps of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RetinaNet, "compile", partialmethod(RetinaNet.compile, run_eagerly=True))
        patch.setitem(VARIANTS, "tiny", least_row)
        yield


def trainer(folder: Path, config: Path) -> Callable[..., Run]:
    def run(callbacks: Any = None, name: str = "run", **options: Any) -> Run:
        changes = OVERRIDES | options.pop("overrides", {})
        return spinenet_tf.train(config, folder / name, callbacks, overrides=changes, verbose=0, **options)

    return run


@pytest.fixture
def train(tmp_path: Path, write_config) -> Callable[..., Run]:
    """Return `train(callbacks, **options)`, which trains for two epochs of three steps."""
    return trainer(tmp_path, write_config(tmp_path))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, write_config) -> Run:
    """Return a run without callbacks; read only."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return trainer(folder, write_config(folder))()


class Recorder(keras.callbacks.Callback):
    """Record every call with the number of its epoch or batch; `fails` names a call that raises OSError, once."""

    def __init__(self, fails: tuple | None = None):
        super().__init__()
        self.calls: list[tuple] = []
        self.logs: list[dict] = []
        self.fails = fails

    def set_model(self, model):
        super().set_model(model)
        self._note("set_model")

    def on_train_begin(self, logs=None):
        self._note("train begin")

    def on_train_end(self, logs=None):
        self.weights = self.model.get_weights()
        self._note("train end")

    def on_epoch_begin(self, epoch, logs=None):
        self._note("epoch begin", epoch)

    def on_epoch_end(self, epoch, logs=None):
        self.weights = self.model.get_weights()
        self.logs.append(dict(logs))
        logs["seen"] = 1.0
        self._note("epoch end", epoch)

    def on_train_batch_begin(self, batch, logs=None):
        self._note("batch begin", batch)

    def on_train_batch_end(self, batch, logs=None):
        assert np.isfinite(logs["loss"])
        self._note("batch end", batch)

    def _note(self, *call):
        self.calls.append(call)
        if self.calls.count(call) == 1 and call == self.fails:
            raise OSError("no network")


def batches(first: int = 0) -> list[tuple]:
    return [call for batch in range(first, STEPS) for call in (("batch begin", batch), ("batch end", batch))]


def epoch(number: int, first: int = 0) -> list[tuple]:
    return [("epoch begin", number), *batches(first), ("epoch end", number)]


def weights(run: Run) -> list[np.ndarray]:
    return run.load(run.last_weights_path).get_weights()


def assert_equal(ours: list[np.ndarray], theirs: list[np.ndarray]) -> None:
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(mine, other)


def rows(run: Run) -> list[dict]:
    return [{key: value for key, value in row.items() if key not in ("seconds", "seen")} for row in run.log]


def test_callbacks_are_called_as_in_one_fit_with_the_metrics_and_the_measured_weights(train) -> None:
    seen = Recorder()
    run = train([seen])
    assert seen.calls == [("set_model",), ("train begin",), *epoch(0), *epoch(1), ("train end",)]
    assert seen.params.items() >= {"epochs": 2, "steps": STEPS, "verbose": 0}.items()
    assert all({"loss", "class_loss", "val_AP", "val_AP50"} <= logs.keys() for logs in seen.logs)
    assert [{key: row[key] for key in logs} for row, logs in zip(run.log, seen.logs, strict=True)] == seen.logs
    assert [row["seen"] for row in run.log] == [1.0, 1.0], "what a callback adds is logged"
    assert_equal(seen.weights, weights(run))  # the averages


@pytest.mark.parametrize(
    ("fails", "position", "again"),
    [
        (("batch end", 1), (0, 2), [*epoch(0, first=2), *epoch(1)]),
        (("batch begin", 2), (0, 2), [*epoch(0, first=2), *epoch(1)]),
        (("epoch end", 0), (0, STEPS), [*epoch(0, first=STEPS), *epoch(1)]),
        (("epoch begin", 1), (1, 0), epoch(1)),
    ],
    ids=["after-a-batch", "before-a-batch", "after-an-epoch", "before-an-epoch"],
)
def test_an_exception_saves_the_state_and_the_run_resumes_exactly(
    train, tmp_path, undisturbed, fails, position, again
) -> None:
    run = Run(tmp_path / "run")
    with pytest.raises(OSError, match="no network") as failure:
        train(Recorder(fails))
    newest = max(run.states_folder.glob("*.npz"))
    assert newest.name.startswith("epoch-{:05}-batch-{:08}-".format(*position))
    notes = " ".join(getattr(failure.value, "__notes__", []))
    assert (str(newest) in notes) == (fails[0] != "epoch begin"), "then nothing was new"
    seen = Recorder()
    train([seen], resume=True)
    assert seen.calls == [("set_model",), ("train begin",), *again, ("train end",)]
    assert_equal(weights(run), weights(undisturbed))
    assert rows(run) == rows(undisturbed)


class StopAt(keras.callbacks.Callback):
    """Set `model.stop_training` after a batch of the first epoch, or at its end for None."""

    def __init__(self, batch: int | None):
        super().__init__()
        self.batch = batch

    def on_train_batch_end(self, batch, logs=None):
        self.model.stop_training = self.model.stop_training or batch == self.batch

    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = self.model.stop_training or self.batch is None


@pytest.mark.parametrize(("batch", "step"), [(None, STEPS), (1, 2)], ids=["epoch", "batch"])
def test_a_callback_ends_a_run_and_resuming_continues_it(train, undisturbed, batch, step) -> None:
    seen = Recorder()
    run = train([StopAt(batch), seen], overrides={"evaluate_every": 2, "early_stopping": 5})
    assert seen.calls[-2:] == [("epoch end", 0), ("train end",)]
    (row,) = run.log
    assert row["step"] == step
    assert "val_AP" in row, "the last epoch is measured"
    assert run.weights_path.is_file()
    assert_equal(weights(run), seen.weights)
    train(resume=True)
    assert_equal(weights(run), weights(undisturbed))
    assert [row["step"] for row in run.log] == [STEPS, 2 * STEPS]


def test_keras_early_stopping_and_checkpoints_follow_our_metrics(train, tmp_path: Path) -> None:
    checkpoint = tmp_path / "{epoch}.weights.h5"
    run = train(
        [
            keras.callbacks.EarlyStopping("val_AP", mode="max", min_delta=1.0, patience=1, verbose=0),
            keras.callbacks.ModelCheckpoint(
                checkpoint, "val_AP", save_best_only=True, save_weights_only=True, mode="max"
            ),
        ],
        overrides={"epochs": 5, "steps_per_epoch": 1},
    )
    assert [row["epoch"] for row in run.log] == [1, 2], "no AP rises by 1"
    assert (tmp_path / "1.weights.h5").is_file()
    assert_equal(run.load(tmp_path / "1.weights.h5").get_weights(), run.load().get_weights())


def test_csv_logger_and_tensorboard_write_what_the_run_logs(train, tmp_path: Path) -> None:
    board = keras.callbacks.TensorBoard(tmp_path / "board", write_graph=False)
    run = train([keras.callbacks.CSVLogger(tmp_path / "log.csv"), [board]])
    with (tmp_path / "log.csv").open() as file:
        lines = list(csv.DictReader(file))
    for line, row in zip(lines, run.log, strict=True):
        assert float(line["val_AP"]) == pytest.approx(row["val_AP"])
        assert float(line["loss"]) == pytest.approx(row["loss"])
    (events,) = (tmp_path / "board" / "validation").iterdir()
    shown = [(event.step, value.tag) for event in summary_iterator(str(events)) for value in event.summary.value]
    assert {(0, "epoch_AP"), (1, "epoch_AP")} <= set(shown)


def test_another_data_set_is_measured_beside_the_validation_data(train, tmp_path: Path) -> None:
    held_out = digits(tmp_path / "data", "val", scenes=3, classes=1)
    run = train(spinenet_tf.callbacks.Evaluate(held_out, prefix="test_", every=2))
    assert [{"val_AP", "test_AP", "test_AP50"} <= row.keys() for row in run.log] == [False, True]


@pytest.mark.parametrize(
    ("callback", "error", "message"),
    [
        (print, TypeError, "must be an instance of keras.callbacks.Callback. Received: <built-in function print>"),
        (keras.callbacks.Callback, TypeError, "must be an instance of keras.callbacks.Callback. Received: <class"),
        ("tensorboard", TypeError, "Received: 'tensorboard'"),
        (keras.callbacks.BackupAndRestore("backup"), ValueError, "pass resume=True instead of BackupAndRestore"),
        (spinenet_tf.callbacks.AverageWeights(), ValueError, "set optimizer.ema in the config"),
    ],
    ids=["function", "class", "name", "backup", "averages"],
)
def test_what_is_no_callback_or_changes_weights_is_refused_before_anything_is_written(
    train, tmp_path: Path, callback, error, message
) -> None:
    with pytest.raises(error, match=message):
        train([keras.callbacks.Callback(), callback])
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


@pytest.mark.parametrize("name", ["KerasPruningCallback", "TFKerasPruningCallback"])
def test_optuna_prunes_a_run_by_its_ap(train, name: str) -> None:
    pruning = getattr(optuna_integration, name)

    def objective(trial) -> float:
        run = train(pruning(trial, "val_AP"), name=f"trial{trial.number}")
        return max(row["val_AP"] for row in run.log)

    study = optuna.create_study(direction="maximize", pruner=optuna.pruners.ThresholdPruner(lower=1.0))
    study.optimize(objective, n_trials=1)
    (trial,) = study.trials
    assert trial.state is optuna.trial.TrialState.PRUNED
    assert list(trial.intermediate_values) == [0]


def test_all_processes_stop_if_a_callback_of_one_stops(monkeypatch) -> None:
    measured = Recorder()
    measured.on_epoch_end = lambda epoch, logs: measured.calls.append((epoch, logs))
    model = SimpleNamespace(stop_training=False)
    stop = StopTogether(model, measured, "val_AP")
    stop.on_train_batch_end(0)
    stop.on_epoch_end(0, {})
    assert (model.stop_training, measured.calls) == (False, [])
    monkeypatch.setattr(processes, "largest", lambda number: 1)  # another process stops
    stop.on_train_batch_end(0)
    assert model.stop_training
    stop.on_epoch_end(1, {"val_AP": 0.5})
    assert measured.calls == [], "it was measured in this epoch"
    stop.on_epoch_end(1, {})
    assert measured.calls == [(1, {})]
