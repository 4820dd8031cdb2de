"""A model's task is read from its run or its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from spinenet_tf.inference.loading import load, read_task
from spinenet_tf.training.config_file import find_config, read_config
from spinenet_tf.training.run import Run


@pytest.mark.parametrize(("config", "task"), [("digits", "detection"), ("digits-classification", "classification")])
def test_a_run_tells_its_task(config: str, task: str, tmp_path: Path) -> None:
    Run(tmp_path / "run").create(read_config(find_config(config)))
    assert read_task(tmp_path / "run") == task


@pytest.mark.parametrize("name", ["", "nowhere", "model.tflite"])
def test_what_is_no_run_is_taken_for_a_detector_which_tells_what_is_wrong(name: str, tmp_path: Path) -> None:
    assert read_task(tmp_path / name) == "detection"
    with pytest.raises((ValueError, FileNotFoundError), match=r"There is no model|is not a run folder"):
        load(tmp_path / name)
