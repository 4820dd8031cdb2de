"""`spinenet_tf.train` takes its config in every form, as the command line does, and returns the run."""

from __future__ import annotations

from functools import partialmethod
from pathlib import Path

import keras
import numpy as np
import pytest
import yaml

import spinenet_tf
from spinenet_tf.heads.retinanet import RetinaNet
from spinenet_tf.training.config import ConfigError
from spinenet_tf.training.config_file import read_config, resolve
from spinenet_tf.training.run import RunError


@pytest.fixture
def path(tmp_path: Path, tiny_model, write_config, monkeypatch) -> Path:
    monkeypatch.setattr(RetinaNet, "compile", partialmethod(RetinaNet.compile, run_eagerly=True))
    monkeypatch.chdir(tmp_path)
    return write_config(tmp_path)


def test_a_config_is_a_path_a_name_a_mapping_or_a_config(path: Path) -> None:
    config = read_config(path)
    forms = (path, str(path), config, yaml.safe_load(path.read_text()))
    assert [resolve(form) for form in forms] == [config] * 4
    assert resolve("demo").model.name == "spinenet_mobile_49xs"
    for form in forms:
        changed = resolve(form, {"epochs": 9, "optimizer.learning_rate": 0.5, "data": dict(config.data)})
        assert (changed.epochs, changed.optimizer.learning_rate, changed.data) == (9, 0.5, config.data)
        assert resolve(form, ["epochs=9", "class_names=[007]"]).class_names == ("007",)
    assert resolve(config) is not config
    assert config.epochs == 2


def test_overrides_do_not_change_the_users_mapping(path: Path) -> None:
    values = yaml.safe_load(path.read_text())
    resolve(values, {"model.image_size": (32, 32), "optimizer.name": "sgd"})
    assert values == yaml.safe_load(path.read_text())


@pytest.mark.parametrize(
    ("config", "overrides", "message"),
    [
        ("nowhere", (), "There is no config nowhere. The package has: .*demo"),
        ({"epochs": 2}, (), r"config: .*model"),
        ("demo", {"epoch": 3}, "Unknown key 'epoch'. Did you mean 'epochs'"),
        ("demo", {"epochs.x": 3}, r"epochs\.x cannot be set: a parent of it is not a mapping. Received: epochs.x=3$"),
        ("demo", "epochs", "An override is key=value. Received: 'epochs'"),
    ],
)
def test_faults_of_a_config_are_named(config, overrides, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve(config, overrides)


def test_a_run_has_its_model_log_and_config(path: Path, tmp_path: Path, capsys) -> None:
    shorter = {"epochs": 1, "steps_per_epoch": 1, "log_images": 0}
    run = spinenet_tf.train("tiny.yaml", overrides=shorter, verbose=2)
    assert repr(run) == "Run('runs/tiny')"
    assert "1/1 - " in capsys.readouterr().out, "one line per epoch"
    (row,) = run.log
    assert (row["epoch"], run.config.epochs, run.config.class_names) == (1, 1, ("digit",))
    best, last = run.load(), run.load(run.last_weights_path)
    for mine, other in zip(best.get_weights(), last.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, other)
    assert spinenet_tf.Run("runs/tiny").load(task="detection").class_names == ("digit",)
    with pytest.raises(RunError, match="exists"):
        spinenet_tf.train("tiny.yaml")


def test_a_config_without_a_name_needs_a_folder(path: Path, tmp_path: Path) -> None:
    for config in (read_config(path), yaml.safe_load(path.read_text())):
        with pytest.raises(ValueError, match="pass `run`"):
            spinenet_tf.train(config)
    assert [entry.name for entry in tmp_path.iterdir()] == ["tiny.yaml"]


def test_the_optimizers_are_those_of_the_recipes_and_kerass() -> None:
    rate = spinenet_tf.optimizers.Warmup(0.0, 2, spinenet_tf.optimizers.step_decay(1.0, 10, (4, 2)))
    assert [round(float(rate(step)), 3) for step in range(10)] == [0, 0.5, *[1.0] * 5, 0.1, 0.1, 0.01]
    for name in ("SGD", "Adam"):
        ours = getattr(spinenet_tf.optimizers, name)(rate)
        assert isinstance(ours, getattr(keras.optimizers, name))
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(ours))
        assert type(again) is type(ours)
        assert again.get_config() == ours.get_config()
