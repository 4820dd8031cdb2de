"""Test that a task rejects options of the other task, and warns of crowded images."""

from __future__ import annotations

from pathlib import Path

import pytest

from spinenet_tf.data.bad_images import BadImages
from spinenet_tf.data.formats.digits import digits
from spinenet_tf.tasks import TASKS
from spinenet_tf.training.config import TrainConfig


def test_every_task_of_a_config_is_there() -> None:
    assert set(TASKS) == set(TrainConfig.model_json_schema()["properties"]["task"]["enum"])


def test_a_classifier_has_no_annotations(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="and no --annotations"):
        TASKS["classification"].given_data(tmp_path / "a.json", tmp_path)


@pytest.mark.parametrize("given", [{"annotations": Path("a.json")}, {"images": Path("images")}])
def test_annotations_and_images_of_a_detector_go_together(given: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="Pass --annotations and --images together"):
        TASKS["detection"].given_data(**({"annotations": None, "images": None} | given))


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
