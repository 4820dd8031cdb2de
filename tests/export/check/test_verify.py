"""The check finds differences to the model, and deletes an artifact that differs."""

from __future__ import annotations

import numpy as np
import pytest

from spinenet_tf import export
from spinenet_tf.data.formats.digits import digits
from spinenet_tf.export.check import verify
from spinenet_tf.export.check.verify import ap_difference, check, check_verifiable, float_difference
from spinenet_tf.inference.naming import flatten, nest


class Distorted:
    """A runner whose raw outputs are the model's, one of them changed."""

    def __init__(self, model, distort):
        self.model, self.distort = model, distort

    def raw(self, images):
        flat = {name: np.array(x) for name, x in flatten(self.model(images, training=False)).items()}
        return nest(flat | {"box_deltas_P4": self.distort(flat["box_deltas_P4"])})


class Oracle:
    """A runner that finds all objects of a data set whose images come in order, or none."""

    def __init__(self, dataset, image_size, finds: bool):
        self.examples, self.image_size, self.finds = iter(dataset), image_size, finds

    def predict(self, images):
        found = [self._detections(next(self.examples)) for _ in images]
        return {name: np.stack([item[name] for item in found]) for name in found[0]}

    def _detections(self, example):
        scale = min(self.image_size[0] / example.height, self.image_size[1] / example.width)
        boxes, classes = np.zeros((10, 4)), np.full(10, -1)
        boxes[: len(example.boxes)] = example.boxes * scale
        classes[: len(example.classes)] = example.classes if self.finds else -1
        return {"boxes": boxes, "scores": np.ones(10), "classes": classes, "num_detections": len(example.boxes)}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return digits(tmp_path_factory.mktemp("digits"), "val", scenes=3, classes=1, seed=0)


def test_a_model_does_not_differ_from_itself(detector, images) -> None:
    assert float_difference(detector, detector, images) == {"max": 0.0, "mean": 0.0}


def test_differences_are_relative_to_the_largest_output(detector, images) -> None:
    outputs = flatten(detector(images, training=False))
    largest = max(np.abs(x).max() for x in outputs.values())
    fraction = np.size(outputs["box_deltas_P4"]) / sum(np.size(x) for x in outputs.values())
    difference = float_difference(detector, Distorted(detector, lambda x: x + 0.5).raw, images)
    assert difference["max"] == pytest.approx(0.5 / largest, rel=1e-5)
    assert difference["mean"] == pytest.approx(0.5 / largest * fraction, rel=1e-5)


@pytest.mark.parametrize("quantization", ["none", "fp16"])
@pytest.mark.parametrize("distort", [lambda x: x + 1.0, lambda x: x * np.nan, lambda x: x[..., ::-1]])
def test_a_float_file_that_differs_fails(detector, distort, quantization) -> None:
    with pytest.raises(export.ExportError, match=f"quantization='{quantization}' differs"):
        check(detector, Distorted(detector, distort), quantization)


def test_an_integer_file_must_at_least_give_numbers(detector) -> None:
    difference, ap = check(detector, Distorted(detector, lambda x: x + 0.1), "int8")
    assert difference["max"] > 0
    assert ap is None
    with pytest.raises(export.ExportError, match="quantization='int8' differs"):
        check(detector, Distorted(detector, lambda x: x * np.inf), "int8")


def test_lost_ap_is_the_difference_of_both(detector, scenes, monkeypatch) -> None:
    size = detector.backbone.image_shape[:2]
    monkeypatch.setattr(detector, "predict_normalized", Oracle(scenes, size, finds=True).predict)
    expected = {"keras": 1.0, "exported": 0.0, "loss": 1.0}
    assert ap_difference(detector, Oracle(scenes, size, finds=False), scenes) == expected


@pytest.mark.parametrize("loss", [0.03, np.nan])
def test_more_lost_ap_than_allowed_fails(detector, scenes, loss, monkeypatch) -> None:
    monkeypatch.setattr(verify, "ap_difference", lambda *_: {"keras": 0.5, "exported": 0.5 - loss, "loss": loss})
    same = Distorted(detector, lambda x: x)
    with pytest.raises(export.ExportError, match=r"loses more ap than max_loss=0\.02"):
        check(detector, same, "int8", verify_on=scenes)
    if loss == 0.03:
        assert check(detector, same, "int8", verify_on=scenes, max_loss=0.04)[1]["loss"] == loss


def test_ap_is_for_detectors_of_these_classes(detector, scenes) -> None:
    with pytest.raises(ValueError, match=r"has the classes 'digit'\. Received: num_classes=3"):
        check_verifiable(detector, scenes)
    with pytest.raises(ValueError, match="The data set and the model must have the same task"):
        check_verifiable(detector.backbone, scenes)
