"""Test that a task rejects options of the other task, and matches a model's classes by name."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spinenet_tf.data.bad_images import BadImages
from spinenet_tf.data.dataset import DetectionDataset, Example
from spinenet_tf.data.formats.digits import digits
from spinenet_tf.inference.predictor import Predictor
from spinenet_tf.tasks import TASKS
from spinenet_tf.training.config import TrainConfig


def test_every_task_of_a_config_is_there() -> None:
    assert set(TASKS) == set(TrainConfig.model_json_schema()["properties"]["task"]["enum"])


def test_a_classifier_has_no_report_and_no_annotations(tmp_path: Path) -> None:
    task = TASKS["classification"]
    with pytest.raises(ValueError, match=r"Only a detector has a report. Received: --report with a classifier"):
        task.check_report(tmp_path / "report", overwrite=False)
    with pytest.raises(ValueError, match="and no --annotations"):
        task.given_data(tmp_path / "a.json", tmp_path)


@pytest.mark.parametrize("given", [{"annotations": Path("a.json")}, {"images": Path("images")}])
def test_annotations_and_images_of_a_detector_go_together(given: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="Pass --annotations and --images together"):
        TASKS["detection"].given_data(**({"annotations": None, "images": None} | given))


def shown(*labels: int) -> tuple[Predictor, DetectionDataset]:
    """Return an image with a cat and a dog, and a predictor that detects both boxes with the classes `labels`."""
    boxes = np.array([[0, 0, 32, 32], [32, 32, 64, 64]], np.float32)
    rows = (boxes, np.array([0, 1], np.int32), np.zeros(2, bool), np.full(2, 1024.0))
    dataset = DetectionDataset("pets", ("cat", "dog"), (1, 2), (Example(1, Picture(), 64, 64, *rows),))
    found = {"boxes": boxes, "scores": np.array([0.9, 0.8]), "classes": np.array(labels)}
    found = {name: values[None] for name, values in found.items()} | {"num_detections": np.array([2])}
    return Predictor(lambda images: found, (64, 64), ("dog", "cow", "cat"), 100), dataset


class Picture:
    """An image file that does not exist."""

    name = "pets.png"

    def read_bytes(self) -> bytes:
        file = io.BytesIO()
        Image.new("RGB", (64, 64)).save(file, "PNG")
        return file.getvalue()


@pytest.mark.parametrize(
    ("labels", "classes", "expected"),
    [
        ((2, 0), None, {"cat": 1.0, "dog": 1.0}),
        ((2, 1), None, {"cat": 1.0, "dog": 0.0}),
        ((2, 1), ["cat"], {"cat": 1.0}),
        ((2, 1), ["dog", "cat"], {"dog": 0.0, "cat": 1.0}),
        ((1, 0), ["cow", "dog"], {"cow": math.nan, "dog": 1.0}),
    ],
)
def test_a_detector_is_measured_on_the_classes_that_one_names(labels, classes, expected: dict[str, float]) -> None:
    numbers = TASKS["detection"].evaluate(*shown(*labels), classes=classes).numbers
    assert numbers.per_class == pytest.approx(expected, nan_ok=True)
    defined = [value for value in expected.values() if not math.isnan(value)]
    assert pytest.approx(sum(defined) / len(defined)) == numbers.AP


def test_the_validation_data_may_lack_classes_or_have_others_without_objects() -> None:
    model, dataset = shown(2, 0)
    dataset = replace(dataset, class_names=("cat", "dog", "horse"), category_ids=(1, 2, 3))
    numbers = TASKS["detection"].evaluate(model, dataset).numbers
    assert numbers.per_class == pytest.approx({"cat": 1.0, "dog": 1.0, "horse": math.nan}, nan_ok=True)


@pytest.mark.parametrize("task", TASKS)
def test_nothing_given_is_no_data_set(task: str) -> None:
    assert TASKS[task].given_data(None, None) is None


@pytest.mark.parametrize(("slots", "images"), [(2, 2), (4, 1), (5, 0)])
def test_images_that_hold_more_objects_than_detections_count_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, slots: int, images: int
) -> None:
    dataset = digits(tmp_path, "val", scenes=2, classes=1)
    assert sorted(len(example.boxes) for example in dataset) == [3, 5]
    TASKS["detection"].check_data(dataset, dataset, BadImages(0.0), slots)
    told = f"annotations: {images} images have more objects than detections are counted, which limits val_AP"
    assert [record.getMessage() for record in caplog.records] == ([told] if images else [])
