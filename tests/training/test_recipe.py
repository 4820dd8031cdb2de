"""A whole training of a small net: the files that it writes, resuming, and stopping."""

from __future__ import annotations

import json
import os
import signal
from functools import partialmethod
from pathlib import Path

import keras
import numpy as np
import pytest
from tensorflow.compat.v1.train import summary_iterator

from spinenet_tf.data.bad_images import BadImages
from spinenet_tf.data.dataset import ClassificationDataset, ClassificationExample, DataError
from spinenet_tf.heads.retinanet import RetinaNet
from spinenet_tf.nets.weights import read_note
from spinenet_tf.training import recipe
from spinenet_tf.training.clock import Clock
from spinenet_tf.training.config import ConfigError, TrainConfig
from spinenet_tf.training.config_file import find_config, read_config
from spinenet_tf.training.datasets import match_classes, read_datasets, with_classes_of
from spinenet_tf.training.recipe import prepare
from spinenet_tf.training.run import Run, RunError


@pytest.fixture(autouse=True)
def _eagerly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train eagerly: tracing a graph takes ten times as long as the few steps of these tests."""
    monkeypatch.setattr(RetinaNet, "compile", partialmethod(RetinaNet.compile, run_eagerly=True))


@pytest.fixture
def read(tmp_path: Path, tiny_model, write_config):
    """Return `read(*overrides)`, which returns the tiny config with its data in the test's folder."""
    path = write_config(tmp_path)
    return lambda *overrides: read_config(path, [*overrides])


def test_a_run_holds_config_weights_log_and_events(tiny_run: Path, tiny_model) -> None:
    run = Run(tiny_run)
    files = (run.config_path, run.weights_path, run.last_weights_path, run.log_path)
    assert set(tiny_run.iterdir()) == {*files, run.events_folder, run.states_folder}
    config = run.config
    assert (config.class_names, config.epochs, config.optimizer.warmup_steps) == (("digit",), 2, 1)
    assert config.category_ids == config.own_data().read("train").category_ids
    assert all(list((run.events_folder / part).glob("events.out.tfevents.*")) for part in ("train", "validation"))


def test_the_log_has_a_row_per_epoch(tiny_run: Path) -> None:
    rows = [json.loads(line) for line in Run(tiny_run).log_path.read_text().splitlines()]
    assert [(row["epoch"], row["step"]) for row in rows] == [(1, 2), (2, 4)]
    for row in rows:
        assert {"seconds", "loss", "class_loss", "box_loss", "val_AP", "val_AP50", "val_AR100"} <= row.keys()
        assert row["loss"] == pytest.approx(row["class_loss"] + row["box_loss"], rel=1e-4), "L2 is off by default"


def test_best_and_last_weights_load(tiny_run: Path, tiny_model) -> None:
    run = Run(tiny_run)
    best, last, config = run.load(), run.load(run.last_weights_path), run.config
    images = np.random.default_rng(0).normal(size=(2, *config.model.image_size, 3)).astype("float32")
    raw = [model.flatten(model(images))[0] for model in (best, last)]
    assert np.isfinite(raw[0]).all()
    first, second = (row["val_AP"] for row in run.log)
    assert np.array_equal(*raw) == (second > first), "equal AP: the first epoch is the best"


def test_names_and_ids_of_the_training_data_come_back_with_the_model(tiny_run: Path, tiny_model) -> None:
    run = Run(tiny_run)
    detector, config = run.load(), run.config
    assert (detector.class_names, detector.category_ids) == (("digit",), config.category_ids)
    assert read_note(run.weights_path) == {"class_names": ["digit"], "category_ids": list(config.category_ids)}


def test_a_finished_run_has_nothing_left_to_do(tiny_run: Path, tiny_model, contents) -> None:
    kept = ("log.jsonl", "best.weights.h5", "last.weights.h5")
    before = contents(tiny_run)
    began = []
    tell = keras.callbacks.LambdaCallback(on_train_begin=began.append)
    recipe.train(Run(tiny_run).config, tiny_run, tell, resume=True)
    assert began == []
    after = contents(tiny_run)
    assert [after[name] for name in kept] == [before[name] for name in kept]


def refuse(config: TrainConfig, folder: Path, error: type[Exception], message: str, **options) -> None:
    with pytest.raises(error, match=message):
        recipe.train(config, folder, **options)


def test_an_existing_folder_is_refused_before_data_are_written(tmp_path: Path, read, contents) -> None:
    (tmp_path / "run").mkdir()
    before = contents(tmp_path)
    refuse(read(), tmp_path / "run", RunError, "Pass --resume")
    refuse(read(), tmp_path / "run", RunError, "not a run folder", resume=True)
    assert contents(tmp_path) == before


def test_classes_that_do_not_fit_are_refused_before_a_run_is_made(tmp_path: Path, read) -> None:
    refuse(read("data.val.classes=10"), tmp_path / "run", ConfigError, r"data\.val: .* not in 'digit'\. Received: '0'")
    lacking = r"class_names: the training data lacks some of them; it has 'digit'\. Received: 'cat'$"
    refuse(read("class_names=[digit, cat]"), tmp_path / "run", ConfigError, lacking)
    refuse(read("class_names=[]"), tmp_path / "run", ConfigError, r"data\.train: .* not in .*Received: 'digit'$")
    refuse(read("class_names=[digit, digit]"), tmp_path / "run", ConfigError, "class_names: a name occurs twice")
    assert not (tmp_path / "run").exists()


def test_other_category_ids_than_those_of_the_data_are_refused(tmp_path: Path, read) -> None:
    refuse(read("category_ids=[7]"), tmp_path / "run", ConfigError, r"those of the training data: 1\. Received: 7$")
    images = ClassificationDataset("train", ("cat",), ())
    assert with_classes_of(read(), images).category_ids is None
    with pytest.raises(ConfigError, match=r"those of the training data: none\. Received: 1"):
        with_classes_of(read("category_ids=[1]"), images)


def renumbered(source: Path, target: Path, names: list[str]) -> str:
    """Write annotations of digits with other categories in another order; return the source for a config."""
    content = json.loads((source / "annotations.json").read_text())
    ids = {name: 100 + number for number, name in enumerate(names)}
    old = {entry["id"]: entry["name"] for entry in content["categories"]}
    content["categories"] = [{"id": key, "name": name} for name, key in ids.items()]
    content["annotations"] = [e for e in content["annotations"] if old[e["category_id"]] in ids]
    for entry in content["annotations"]:
        entry["category_id"] = ids[old[entry["category_id"]]]
    target.write_text(json.dumps(content))
    return f"{{annotations: {json.dumps(str(target))}, images: {json.dumps(str(source / 'images'))}}}"


def test_validation_data_may_lack_a_class_and_have_another_order(tmp_path: Path, read) -> None:
    (tmp_path / "made").mkdir()
    ten = read("data.train.classes=10", "data.val.classes=10", "data.train.scenes=30")
    training, validation = (ten.own_data().read(split) for split in ("train", "val"))
    folder = validation.examples[0].path.parent.parent
    # Backwards, and without the seven.
    changed = renumbered(folder, tmp_path / "made" / "val.json", list("986543210"))
    config = read("data.train.classes=10", "data.train.scenes=30", f"data.val={changed}")
    seen = read_datasets(config, BadImages(0.0))
    assert [part.class_names for part in seen] == [tuple("0123456789")] * 2
    assert with_classes_of(config, seen[0]).category_ids == training.category_ids
    for ours, theirs in zip(seen[0], training, strict=True):
        np.testing.assert_array_equal(ours.classes, theirs.classes)
    for ours, theirs in zip(seen[1], validation, strict=True):
        np.testing.assert_array_equal(ours.classes, theirs.classes[theirs.classes != 7])
        np.testing.assert_array_equal(ours.boxes, theirs.boxes[theirs.classes != 7])


def test_the_folders_of_a_classifier_are_matched_by_name_too() -> None:
    config = read_config(find_config("digits-classification"))
    images = [ClassificationExample(Path(f"{number}.png"), number) for number in range(3)]
    training = ClassificationDataset("train", ("cat", "cow", "dog"), tuple(images))
    validation = ClassificationDataset("val", ("cat", "dog"), tuple(images[:2]))
    seen = match_classes(config, training, validation)
    assert [part.class_names for part in seen] == [training.class_names] * 2
    assert [[example.label for example in part] for part in seen] == [[0, 1, 2], [0, 2]]
    with pytest.raises(ConfigError, match=r"^data\.val: .* not in 'cat', 'dog'\. Received: 'cow'$"):
        match_classes(config, validation, training)


def test_the_config_gives_the_order_of_the_classes(read) -> None:
    names = list("7913502468")
    config = read("data.train.classes=10", "data.val.classes=10", f"class_names={json.dumps(names)}")
    for seen, split in zip(read_datasets(config, BadImages(0.0)), ("train", "val"), strict=True):
        assert seen.class_names == tuple(names)
        for ours, theirs in zip(seen, config.own_data().read(split), strict=True):
            assert [names[label] for label in ours.classes] == [str(label) for label in theirs.classes]


def test_an_override_that_the_graph_cannot_follow_is_refused_before_a_run_is_made(tmp_path: Path, read) -> None:
    config = read("model.overrides={max_level: 6}")
    refuse(config, tmp_path / "run", ConfigError, "model: three_blocks outputs the levels .*max_level=6")
    assert not (tmp_path / "run").exists()


def test_a_net_for_phones_warns_once_of_a_size_that_their_gpus_do_not_support(read, tiny_mobile_spec) -> None:
    sizes = ["model.image_size=[788, 64]", "class_names=[a]"]
    with pytest.warns(UserWarning, match=r"for CPUs, but not for phone GPUs and NPUs\. .*: height 784 or 793") as told:
        prepare(read(*sizes, f"model.graph={json.dumps(tiny_mobile_spec.get_config())}"), steps=2)
    assert len(told) == 1
    prepare(read(*sizes), steps=2)  # for servers: a warning would be an error


def damage(folder: Path, content: bytes) -> Path:
    """Overwrite the end of the first training image and return its path."""
    path = next(folder.glob("data/digits1-train-*/images/*.jpg"))
    path.write_bytes(content or path.read_bytes()[:-800])
    return path


@pytest.mark.parametrize("content", [b"no image", b""], ids=["garbage", "truncated"])
def test_an_image_that_does_not_decode_is_named_before_a_run_is_made(tmp_path: Path, read, content: bytes) -> None:
    config = read("data.cache=true")
    config.data.train.read("train")
    refuse(config, tmp_path / "run", DataError, damage(tmp_path, content).name)
    assert not (tmp_path / "run").exists()


def test_an_image_that_does_not_decode_in_the_middle_of_training_is_named(tmp_path: Path, read) -> None:
    config = read()
    config.data.train.read("train")
    refuse(config, tmp_path / "run", DataError, f"{damage(tmp_path, b'').name}: the image cannot be decoded")


def test_there_must_be_something_to_evaluate_on(tmp_path: Path, read) -> None:
    config = read()
    config.data.val.read("val")
    path = next(tmp_path.glob("data/digits1-val-*/annotations.json"))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"annotations": []}))
    overrides = (f"annotations: {json.dumps(str(path))}", f"images: {json.dumps(str(path.parent / 'images'))}")
    config = read(f"data.val={{{', '.join(overrides)}}}")
    refuse(config, tmp_path / "run", DataError, "the validation data has no objects")


def test_there_must_be_something_to_train_on(tmp_path: Path, read, caplog) -> None:
    """With labels in another folder, or only of crowds, training once ran to its end."""
    config = read()
    config.data.train.read("train")
    path = next(tmp_path.glob("data/digits1-train-*/annotations.json"))
    content = json.loads(path.read_text())
    for objects in ([], [entry | {"iscrowd": 1} for entry in content["annotations"]]):
        path.write_text(json.dumps(content | {"annotations": objects}))
        options = (f"annotations: {json.dumps(str(path))}", f"images: {json.dumps(str(path.parent / 'images'))}")
        config = read(f"data.train={{{', '.join(options)}}}")
        refuse(config, tmp_path / "run", DataError, "annotations: there are no objects to train on")
    (path.parent / "data.yaml").write_text("train: images\nnames: [digit]\n")
    config = read(f"data.train={{yolo: {json.dumps(str(path.parent / 'data.yaml'))}}}")
    refuse(config, tmp_path / "run", DataError, "train: there are no objects to train on")
    assert any("no image has a label file" in record.message for record in caplog.records)
    assert not (tmp_path / "run").exists()


def test_training_stops_when_the_loss_is_not_finite_and_saves_nothing_of_it(tmp_path: Path, read) -> None:
    steps = ("optimizer.name=sgd", "optimizer.learning_rate=1e38", "optimizer.clip_global_norm=null")
    config = read(*steps, "optimizer.warmup_steps=0")
    refuse(config, tmp_path / "run", RuntimeError, r"NaN or Inf loss at step 2 \(epoch 1\)")
    assert not Run(tmp_path / "run").last_weights_path.exists()
    assert not Run(tmp_path / "run").states_folder.exists()


def test_ctrl_c_saves_the_state_says_where_and_training_goes_on(
    tmp_path: Path, read, monkeypatch, python_ctrl_c
) -> None:
    def on_batch(self, batch, logs=None, end=Clock.on_train_batch_end):
        end(self, batch, logs)
        if self.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    config, run = read("log_images=0", "evaluate_every=2", "model.image_size=[32, 32]"), Run(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(Clock, "on_train_batch_end", on_batch)
        said = r"Stopped by Ctrl-C after step 3\. Continue with --resume\. The state is .*/epoch-00001-batch-00000001"
        with pytest.raises(KeyboardInterrupt, match=said):
            recipe.train(config, run.folder)
    assert [row["epoch"] for row in run.log] == [1]
    changed = config.model_copy(update={"evaluation_batch_size": 2})
    recipe.train(changed, run.folder, resume=True)
    assert [(row["epoch"], row["step"]) for row in run.log] == [(1, 2), (2, 4)]
    assert run.config == changed.model_copy(update={"class_names": ("digit",), "category_ids": (1,)}), (
        "it says how the run went on"
    )


@pytest.mark.slow
def test_fine_tuning_in_half_precision_keeps_what_is_frozen_and_stops_early(tmp_path: Path, read, tiny_run) -> None:
    start = {weight.path: np.array(weight.value) for weight in Run(tiny_run).load().weights}
    options = ["data.train.classes=10", "data.val.classes=10", "epochs=5", "steps_per_epoch=1", "early_stopping=1"]
    options += [f"weights={tiny_run}", "freeze=[backbone]", "precision=mixed_float16", "optimizer.learning_rate=1e-9"]
    seen = keras.callbacks.Callback()
    run = recipe.train(read(*options), tmp_path / "run", seen)
    detector = seen.model
    assert [row["epoch"] for row in run.log] == [1, 2], "nothing was learned at that rate"
    assert detector.compute_dtype == "float16"
    assert run.load().compute_dtype == "float32", "what was trained in half precision is used in full"
    for weight in detector.backbone.weights:
        np.testing.assert_array_equal(np.array(weight.value), start[weight.path])
    assert detector.get_layer("class_predictor").bias.shape == (10 * 9,)


def test_tensorboard_gets_images(tiny_run: Path) -> None:
    (events,) = (Run(tiny_run).events_folder / "validation").glob("*.images")
    shown = [(event.step, value.tag) for event in summary_iterator(str(events)) for value in event.summary.value]
    assert shown == [(0, "ground truth, detections"), (1, "ground truth, detections")]
