"""The samples of docs/callbacks.md run, with a smaller net, and their trackers get the metrics."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partialmethod
from pathlib import Path
from typing import Any

import keras
import pytest

import spinenet_tf
from spinenet_tf.heads.retinanet import RetinaNet
from spinenet_tf.nets.family import VARIANTS

PAGE = Path(__file__).parents[2] / "docs" / "callbacks.md"
FIRST, *SAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
SMALL = {"log_images": 0, "model.image_size": [32, 32], "steps_per_epoch": 1, "optimizer.warmup_steps": 0}


@pytest.fixture
def run_sample(tmp_path: Path, monkeypatch, tiny_model, tiny_row, write_config) -> Callable[[str], dict[str, Any]]:
    """Return `run_sample(word)`, which runs the sample with this word and returns its variables."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(RetinaNet, "compile", partialmethod(RetinaNet.compile, run_eagerly=True))
    monkeypatch.setitem(VARIANTS, "spinenet_mobile_49xs", tiny_row)
    config, real = write_config(tmp_path), spinenet_tf.train

    def small(name: str, run: str, callbacks: Any, overrides: dict[str, Any] | None = None) -> spinenet_tf.Run:
        assert name == "digits"
        return real(config, run, callbacks, overrides=SMALL | (overrides or {}), verbose=0)

    def run(word: str) -> dict[str, Any]:
        (sample,) = (text for text in SAMPLES if word in text)
        monkeypatch.setattr(spinenet_tf, "train", small)
        values: dict[str, Any] = {}
        exec(FIRST + re.sub("n_trials=20", "n_trials=1", re.sub("scenes=100", "scenes=16", sample)), values)
        return values

    return run


def test_each_sample_of_a_tracker_has_at_most_eight_lines() -> None:
    assert len(SAMPLES) == 5
    for sample in SAMPLES[:3]:
        assert len(sample.strip().splitlines()) <= 8


def test_tensorboard(run_sample, tmp_path: Path) -> None:
    run_sample("TensorBoard")
    assert {path.name for path in (tmp_path / "logs").iterdir()} == {"train", "validation"}


@pytest.mark.filterwarnings("ignore")  # of MLflow and SQLAlchemy
def test_mlflow(run_sample) -> None:
    import mlflow

    run = run_sample("mlflow")["run"]
    (tracked,) = mlflow.search_runs(output_format="list")
    assert tracked.info.run_name == "digits"
    assert tracked.data.metrics["val_AP"] == pytest.approx(run.log[-1]["val_AP"])
    assert tracked.data.metrics["loss"] == pytest.approx(run.log[-1]["loss"])
    (stored,) = mlflow.MlflowClient().list_artifacts(tracked.info.run_id)
    assert stored.path == "config.yaml"


def test_optuna(run_sample, tmp_path: Path) -> None:
    (trial,) = run_sample("optuna")["study"].trials
    run = spinenet_tf.Run(tmp_path / "runs" / "trial0")
    assert run.config.optimizer.learning_rate == trial.params["learning_rate"]
    assert trial.value == max(row["val_AP"] for row in run.log)


def test_weights_and_biases_is_valid_python() -> None:
    (sample,) = (text for text in SAMPLES if "wandb" in text)
    compile(sample, "sample", "exec")


def test_plain_fit(run_sample, tmp_path: Path) -> None:
    detector = run_sample("AverageWeights")["detector"]
    assert {"val_AP", "loss"} <= detector.history.history.keys()
    assert keras.saving.load_model(tmp_path / "best.keras").class_names == tuple("0123456789")
