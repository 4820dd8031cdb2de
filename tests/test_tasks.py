"""A model's task is told by its run, and refuses what only the other one has."""

from __future__ import annotations

from pathlib import Path

import pytest

from spinenet_tf.tasks import TASKS, task_of
from spinenet_tf.training.config import TrainConfig, find_config, read_config
from spinenet_tf.training.run import Run


def test_every_task_of_a_config_is_there() -> None:
    assert set(TASKS) == set(TrainConfig.model_json_schema()["properties"]["task"]["enum"])


@pytest.mark.parametrize(("config", "task"), [("digits", "detection"), ("digits-classification", "classification")])
def test_a_run_tells_its_task(config: str, task: str, tmp_path: Path) -> None:
    Run(tmp_path / "run").create(read_config(find_config(config)))
    assert task_of(tmp_path / "run") is TASKS[task]


@pytest.mark.parametrize("name", ["", "nowhere", "model.tflite"])
def test_what_is_no_run_is_taken_for_a_detector_which_tells_what_is_wrong(name: str, tmp_path: Path) -> None:
    task = task_of(tmp_path / name)
    assert task is TASKS["detection"]
    with pytest.raises((ValueError, FileNotFoundError), match=r"There is no model|is not a run folder"):
        task.load(tmp_path / name)


def test_a_classifier_has_no_report_and_no_annotations(tmp_path: Path) -> None:
    task = TASKS["classification"]
    with pytest.raises(ValueError, match=r"made of a detector. Received: --report with a classifier"):
        task.check_report(tmp_path / "report", overwrite=False)
    with pytest.raises(ValueError, match="give --images alone"):
        task.given_data(tmp_path / "a.json", tmp_path)


@pytest.mark.parametrize("given", [{"annotations": Path("a.json")}, {"images": Path("images")}])
def test_annotations_and_images_of_a_detector_go_together(given: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="--annotations and --images go together"):
        TASKS["detection"].given_data(**({"annotations": None, "images": None} | given))


@pytest.mark.parametrize("task", TASKS)
def test_nothing_given_is_no_data_set(task: str) -> None:
    assert TASKS[task].given_data(None, None) is None
