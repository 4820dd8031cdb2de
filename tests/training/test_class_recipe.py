"""A classifier is trained, evaluated and used by the same commands as a detector."""

from __future__ import annotations

import json
from functools import partialmethod
from pathlib import Path

import keras
import numpy as np
import pytest
import yaml

from spinenet_tf.data.dataset import ClassificationDataset
from spinenet_tf.evaluation.accuracy import Accuracy
from spinenet_tf.heads.classifier import Classifier, SmoothedCrossentropy
from spinenet_tf.inference.loading import read_task
from spinenet_tf.inference.measurement import evaluate
from spinenet_tf.training import recipe
from spinenet_tf.training.config import ConfigError
from spinenet_tf.training.config_file import read_config
from spinenet_tf.training.run import Run


def config_in(folder: Path, **changes) -> Path:
    source = {"digit_images": str(folder / "data"), "scenes": 8}
    config = {
        "task": "classification",
        "model": {"name": "tiny", "image_size": [32, 32], "overrides": {"max_level": 5, "norm_momentum": 0.5}},
        "data": {"train": source, "val": source, "flip": False, "area": [0.8, 1.0], "label_smoothing": 0.1},
        "optimizer": {"name": "adam", "learning_rate": 0.32, "warmup_steps": 1},
        "batch_size": 8,
        "steps_per_epoch": 3,
        "epochs": 2,
    }
    path = folder / "classifier.yaml"
    path.write_text(yaml.safe_dump(config | changes))
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory, succeed) -> Path:
    """Return the folder of a classifier's run, trained once. Load it in tests that have `tiny_model`; read only."""
    folder = tmp_path_factory.mktemp("classifier")
    succeed("train", config_in(folder), "--run", folder / "run")
    return folder / "run"


def measured(run: Path, dataset: ClassificationDataset) -> Accuracy:
    found = evaluate(run, dataset)
    assert isinstance(found, Accuracy)
    return found


def test_a_run_holds_what_a_detectors_does(run: Path, tiny_model) -> None:
    rows = Run(run).log
    assert [row["epoch"] for row in rows] == [1, 2]
    assert all({"loss", "top1", "top5", "val_top1", "val_top5"} <= row.keys() for row in rows)
    assert read_task(run) == "classification"
    assert Run(run).config.class_names == tuple("0123456789")
    best = measured(run, Run(run).config.own_images().val.read("val"))
    assert best.top1 == pytest.approx(max(row["val_top1"] for row in rows))


def test_evaluate_writes_its_numbers(run: Path, succeed, tmp_path: Path, capsys) -> None:
    succeed("evaluate", run, "--json", tmp_path / "numbers.json")
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    assert numbers.keys() == {"top1", "top5", "images", "per_class"}
    assert 0 <= numbers["top1"] <= numbers["top5"] <= 1
    assert "top-1" in capsys.readouterr().out


def test_predict_names_the_likeliest_classes_of_each_file(run: Path, succeed, tmp_path: Path, capsys) -> None:
    folder = next(run.parent.glob("data/digit-images-train-*/3"))
    succeed("predict", folder, "--model", run, "--output", tmp_path / "found")
    lines = (tmp_path / "found" / "classes.jsonl").read_text().splitlines()
    found = {row["image"]: row["classes"] for row in map(json.loads, lines)}
    assert found.keys() == {path.name for path in folder.iterdir()}
    for classes in found.values():
        scores = [row["score"] for row in classes]
        assert scores == sorted(scores, reverse=True)
        assert len(scores) == 5
        assert 0 < sum(scores) <= 1.001
    assert f"Wrote the results of {len(found)} images to" in capsys.readouterr().out


def test_images_of_some_of_the_classes_are_renumbered_and_others_refused(run: Path, tiny_model) -> None:
    whole = Run(run).config.own_images().val.read("val")
    some = tuple(example for example in whole if example.label in (3, 7))
    part = ClassificationDataset("part", ("3", "7"), tuple(type(e)(e.path, (3, 7).index(e.label)) for e in some))
    expected = measured(run, ClassificationDataset("part", whole.class_names, some))
    assert measured(run, part) == expected
    with pytest.raises(ValueError, match=r"does not have the classes 'cat', only "):
        measured(run, ClassificationDataset("part", ("cat",), some))


def test_more_than_one_device_is_refused_before_anything_is_written(tmp_path: Path, tiny_model) -> None:
    config = read_config(config_in(tmp_path), ["distribution=mirrored"])
    with pytest.raises(ConfigError, match="trains on one device"):
        recipe.train(config, tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["classifier.yaml"]


def test_commands_for_detectors_refuse_it_in_one_line(run: Path, tiny_model) -> None:
    with pytest.raises(ConfigError, match=r"of task detection. Received: task=classification"):
        Run(run).load(task="detection")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("task=detection", r"The data does not fit the task. Received: task=detection. Classification reads"),
        (
            "data.train={annotations: a, images: b}",
            r"data.train: Unknown key '.*'. Valid: folder",
        ),
        ("data.area=[0.5, 0.1]", r"data: area must be \(smallest, largest\)"),
        ("data.area=[0.0, 1.0]", r"data.area.0: .*greater than 0"),
        ("data.label_smoothing=1", r"data.label_smoothing: "),
        ("data.scale=[1, 2]", r"data: Unknown key 'scale'"),
        ("data.rand_augment=-1", r"data.rand_augment: "),
    ],
)
def test_faults_of_its_config_are_named(tmp_path: Path, tiny_model, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_config(config_in(tmp_path), [override])


@pytest.mark.slow
def test_an_interrupted_run_goes_on_to_the_same_weights(tmp_path: Path, least_model, monkeypatch) -> None:
    """The training loop is the same as for a detector, whose tests stop at any step; data and loss differ."""
    # Tracing a graph takes ten times as long as these steps.
    monkeypatch.setattr(Classifier, "compile", partialmethod(Classifier.compile, run_eagerly=True))
    small = ["epochs=1", "checkpoint_every=1", "model.overrides.max_level=3"]
    config = read_config(config_in(tmp_path), small)
    whole = recipe.train(config, tmp_path / "whole")

    def stop(self, batch: int, logs=None) -> None:
        if batch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(keras.callbacks.TensorBoard, "on_train_batch_begin", stop)
        with pytest.raises(KeyboardInterrupt):
            recipe.train(config, tmp_path / "cut")
    resumed = recipe.train(config, tmp_path / "cut", resume=True)
    resumed, whole = (run.load(run.last_weights_path) for run in (resumed, whole))
    for mine, other in zip(resumed.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_kerass_on_one_hot_labels(smoothing: float) -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(6, 5)).astype("float32"), rng.integers(0, 5, 6)
    expected = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing)(
        keras.utils.to_categorical(labels, 5), logits
    )
    loss = SmoothedCrossentropy(smoothing)
    assert float(loss(labels, logits)) == pytest.approx(float(expected), rel=1e-6)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert again.label_smoothing == smoothing
