"""Callbacks that measure a model: what they log, and when."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from types import SimpleNamespace

import keras
import pytest

import spinenet_tf
from spinenet_tf._files.progress import untracked
from spinenet_tf.data import DetectionDataset, digit_images, digits
from spinenet_tf.heads.classifier import SmoothedCrossentropy
from spinenet_tf.heads.detector import DetectionModel
from spinenet_tf.optimizers import SGD
from spinenet_tf.tasks import TASKS
from spinenet_tf.training import progress
from spinenet_tf.training.measuring import Evaluate


def perfect(dataset, size: int):
    """Return a predictor of the true boxes of a data set of square images, called with one image at a time."""
    examples = iter(dataset)

    def predict(images):
        example = next(examples)
        scale = size / max(example.height, example.width)
        count = len(example.boxes)
        found = {"boxes": example.boxes * scale, "scores": [0.9] * count, "classes": example.classes}
        return {name: [values] for name, values in found.items()} | {"num_detections": [count]}

    return predict


def model(**attributes) -> SimpleNamespace:
    """Return a mock model that is training."""
    return SimpleNamespace(stop_training=False, **attributes)


def test_ap_is_logged_every_so_many_epochs_and_after_the_last(tmp_path: Path) -> None:
    dataset = digits(tmp_path, "val", scenes=2, classes=1)
    callback = Evaluate(dataset, (64, 64), every=2, batch_size=1)
    callback.set_params({"epochs": 5})
    logged = []
    for epoch in range(5):
        callback.set_model(model(predict_normalized=perfect(dataset, 64)))
        logs = {"loss": 1.0}
        callback.on_epoch_end(epoch, logs)
        logged.append(logs.get("val_AP"))
    assert logged == [None, pytest.approx(1.0), None, pytest.approx(1.0), pytest.approx(1.0)]


def test_numbers_without_ground_truth_are_left_out_of_the_log(tmp_path: Path) -> None:
    dataset = digits(tmp_path, "val", scenes=2, classes=1)
    callback = Evaluate(dataset, (64, 64), batch_size=1)
    callback.set_params({"epochs": 1})
    callback.set_model(model(predict_normalized=perfect(dataset, 64)))
    logs: dict = {}
    callback.on_epoch_end(0, logs)
    assert {"val_AP", "val_AP50", "val_AR100"} < logs.keys()
    assert "val_APl" not in logs, "no digit is over 96 x 96 px"


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> DetectionDataset:
    return digits(tmp_path_factory.mktemp("scenes"), scenes=4)


def train(net: keras.Model, batches, *callbacks, epochs: int = 2) -> dict[str, list[float]]:
    loss = {} if isinstance(net, DetectionModel) else {"loss": SmoothedCrossentropy()}
    # Eagerly: tracing a graph takes ten times as long as these steps.
    net.compile(SGD(1e-3, momentum=0.9), **loss, run_eagerly=True)
    return net.fit(batches, epochs=epochs, verbose=0, callbacks=list(callbacks)).history


def small_detector(spec, **options) -> DetectionModel:
    options |= {"max_level": 5, "endpoint": 8, "head_depth": 1, "head_width": 8, "score_threshold": 0.001}
    return spinenet_tf.detector(spec, input_shape=(64, 64, 3), **options)


def test_callbacks_after_it_in_fit_follow_the_ap(three_blocks, scenes, tmp_path) -> None:
    detector = small_detector(three_blocks, class_names=scenes.class_names)
    best, stop = tmp_path / "best.keras", {"monitor": "val_AP", "mode": "max"}
    history = train(
        detector,
        scenes.batches((64, 64), 2),
        Evaluate(scenes),
        keras.callbacks.ModelCheckpoint(best, save_best_only=True, **stop),
        keras.callbacks.EarlyStopping(min_delta=1.0, patience=1, **stop),
        epochs=9,
    )
    assert len(history["val_AP"]) == 2, "no AP rises by 1"
    assert {"loss", "val_AP50", "val_AR100"} <= history.keys()
    reloaded = keras.saving.load_model(best)
    again = TASKS["detection"].measure(reloaded.predict_on_batch, scenes, (64, 64), scenes.class_names)
    assert pytest.approx(max(history["val_AP"])) == again.AP


def test_classes_are_matched_by_the_names_of_the_model(three_blocks, scenes, randomize) -> None:
    names = scenes.class_names[::-1]
    evaluate = Evaluate(scenes)
    evaluate.set_model(small_detector(three_blocks, class_names=names))
    assert evaluate._known() == {"image_size": (64, 64), "class_names": names}


def test_a_classifier_gets_its_accuracies(three_blocks, tmp_path) -> None:
    images = digit_images(tmp_path, scenes=8)
    net = spinenet_tf.classifier(three_blocks, class_names=images.class_names, input_shape=(32, 32, 3), endpoint=8)
    history = train(net, images.batches((32, 32), 4), Evaluate(images, prefix="test_", center=1.0, every=2))
    assert len(history["test_top1"]) == 1
    assert 0 <= history["test_top1"][0] <= history["test_top5"][0] <= 1


@pytest.mark.parametrize(
    ("options", "shape", "message"),
    [
        ({}, {"num_classes": 3}, "retinanet has 3 classes: pass their names in order as `class_names`. Received: 10"),
        ({"class_names": ("a", "b")}, {"num_classes": 10}, "has 10 classes: .* Received: 2 names"),
        ({}, {"num_classes": 10, "input_shape": (None, None, 3)}, "has no fixed input size: pass `image_size`"),
    ],
    ids=["data", "names", "size"],
)
def test_what_does_not_fit_is_reported_before_the_first_step(three_blocks, scenes, options, shape, message) -> None:
    given = {"input_shape": (64, 64, 3), "max_level": 5, "endpoint": 8, "head_depth": 1, "head_width": 8} | shape
    net = spinenet_tf.detector(three_blocks, **given)
    with pytest.raises(ValueError, match=message):
        train(net, scenes.batches((64, 64), 2), Evaluate(scenes, **options))
    assert int(net.optimizer.iterations) == 0


def test_data_of_another_task_are_refused(three_blocks, tmp_path, scenes) -> None:
    images = digit_images(tmp_path, scenes=8)
    with pytest.raises(ValueError, match=r"is for detection\. Received: a ClassificationDataset"):
        train(small_detector(three_blocks, num_classes=10), scenes.batches((64, 64), 2), Evaluate(images))
    for options in ({"every": 0}, {"batch_size": 0}):
        with pytest.raises(ValueError, match="`every` and `batch_size` must be at least 1"):
            Evaluate(scenes, **options)


class Screen(io.StringIO):
    """A terminal of one line: `line` is what it shows, with backspaces carried out."""

    def isatty(self) -> bool:
        return True

    @property
    def line(self) -> str:
        shown: list[str] = []
        place = 0
        for letter in self.getvalue():
            if letter == "\b":
                place -= 1
            else:
                shown[place : place + 1] = letter
                place += 1
        return "".join(shown)


def test_progress_stands_behind_kerass_bar_and_disappears(monkeypatch) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    screen.write("4/4 loss: 0.5")
    seen = []
    for item in progress.after_the_bar("auto")(range(12), 12, "Detecting"):
        seen.append(item)
        if item:
            assert screen.line == f"4/4 loss: 0.5 - detecting: {item}/12"
    assert seen == list(range(12))
    assert screen.line.rstrip() == "4/4 loss: 0.5"
    assert not screen.getvalue().count("\n")


@pytest.mark.parametrize("verbose", [0, 2])
def test_there_is_no_progress_where_keras_shows_no_bar(monkeypatch, verbose: int) -> None:
    monkeypatch.setattr(sys, "stdout", Screen())
    assert progress.after_the_bar(verbose) is untracked
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert progress.after_the_bar(1) is untracked, "a file"
