"""Callbacks that measure a model: what they log, and when."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from spinenet_tf.data.formats.digits import digits
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
        callback.set_model(model(predict_on_batch=perfect(dataset, 64)))
        logs = {"loss": 1.0}
        callback.on_epoch_end(epoch, logs)
        logged.append(logs.get("val_AP"))
    assert logged == [None, pytest.approx(1.0), None, pytest.approx(1.0), pytest.approx(1.0)]


def test_numbers_without_ground_truth_are_left_out_of_the_log(tmp_path: Path) -> None:
    dataset = digits(tmp_path, "val", scenes=2, classes=1)
    callback = Evaluate(dataset, (64, 64), batch_size=1)
    callback.set_params({"epochs": 1})
    callback.set_model(model(predict_on_batch=perfect(dataset, 64)))
    logs: dict = {}
    callback.on_epoch_end(0, logs)
    assert {"val_AP", "val_AP50", "val_AR100"} < logs.keys()
    assert "val_APl" not in logs, "no digit is over 96 x 96 px"
