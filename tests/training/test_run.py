"""The run's folder: when it may be written, and that other folders are never deleted."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import h5py
import pytest

from spinenet_tf.training.config import ConfigError, TrainConfig
from spinenet_tf.training.config_file import read_config
from spinenet_tf.training.run import Run, RunError, build_model


@pytest.fixture
def config(tmp_path: Path, tiny_model, write_config) -> TrainConfig:
    return read_config(write_config(tmp_path), ["class_names=[digit]"])


@pytest.fixture
def run(tmp_path: Path, config: TrainConfig) -> Run:
    run = Run(tmp_path / "runs" / "a")
    run.create(config)
    return run


def test_a_run_is_its_resolved_config_at_first(run: Run, config: TrainConfig, contents) -> None:
    assert list(contents(run.folder)) == ["config.yaml"]
    assert run.config == config


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "a exists. Pass --resume to continue, or --overwrite to start over."),
        ({"resume": True, "overwrite": True}, "cannot be combined"),
    ],
)
def test_an_existing_run_is_not_written_to(run: Run, options: dict, message: str) -> None:
    with pytest.raises(RunError, match=message):
        run.check(**options)


def test_overwriting_removes_all_of_an_earlier_run(run: Run, config: TrainConfig, contents) -> None:
    run.weights_path.write_text("old")
    run.events_folder.mkdir()
    run.create(config.model_copy(update={"epochs": 9}), overwrite=True)
    assert list(contents(run.folder)) == ["config.yaml"]
    assert run.config.epochs == 9


@pytest.mark.parametrize("name", ["photo.jpg", "config.yaml"])
def test_a_foreign_folder_is_never_deleted(tmp_path: Path, config: TrainConfig, contents, name: str) -> None:
    """Other programs have a config.yaml, too."""
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / name).write_text("precious: true")
    for write in (Run(folder).check, lambda overwrite: Run(folder).create(config, overwrite=overwrite)):
        with pytest.raises(RunError, match="thesis is not a run folder, so it is not overwritten"):
            write(overwrite=True)
    assert list(contents(folder)) == [name]


def test_a_project_with_a_copy_of_a_config_is_never_deleted(tmp_path: Path, run: Run, config: TrainConfig) -> None:
    """`--run .` in a project with a config of a training would remove the whole project."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "config.yaml").write_bytes(run.config_path.read_bytes())
    (project / "thesis.tex").write_text("precious")
    with pytest.raises(RunError, match="project is not a run folder, so it is not overwritten"):
        Run(project).create(config, overwrite=True)
    assert (project / "thesis.tex").read_text() == "precious"


@pytest.mark.parametrize("name", ["last.weights.h5", "log.jsonl", "states", "events"])
def test_a_run_of_any_age_may_be_overwritten(run: Run, config: TrainConfig, contents, name: str) -> None:
    (run.folder / name).mkdir()
    (run.folder / "model.tflite").write_text("exported")
    run.create(config, overwrite=True)
    assert list(contents(run.folder)) == ["config.yaml"]


def test_a_file_in_the_way_is_not_deleted(tmp_path: Path, config: TrainConfig) -> None:
    path = tmp_path / "file"
    path.write_text("precious")
    with pytest.raises(RunError, match="file is not a run folder"):
        Run(path).create(config, overwrite=True)
    assert path.read_text() == "precious"


def test_an_empty_folder_may_be_overwritten(tmp_path: Path, config: TrainConfig) -> None:
    (tmp_path / "empty").mkdir()
    Run(tmp_path / "empty").create(config, overwrite=True)
    assert Run(tmp_path / "empty").config == config


def test_what_is_not_a_run_is_not_resumed(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(RunError, match=f"{folder.name} is not a run folder: it has no config.yaml"):
            Run(folder).check(resume=True)


def test_a_run_goes_on_with_its_own_config_only(run: Run, config: TrainConfig) -> None:
    run.check_config(config)
    with pytest.raises(RunError, match=r"a was started with another config: see its config.yaml"):
        run.check_config(config.model_copy(update={"batch_size": 2}))


def test_what_differs_is_named_with_both_values_and_with_what_may(run: Run, config: TrainConfig) -> None:
    data = config.data.model_copy(update={"scale": (0.5, 2.0)})
    other = config.model_copy(update={"epochs": 9, "data": data, "log_images": 0, "weights": Path("runs/a")})
    with pytest.raises(RunError) as error:
        run.check_config(other)
    assert str(error.value) == (
        f"{run.folder} was started with another config: see its config.yaml. Only evaluate_every, "
        "evaluation_batch_size, early_stopping, checkpoint_every, log_images may change. "
        "Received: data.scale=[0.5, 2.0] (was [0.8, 1.2]), epochs=9 (was 2), weights=runs/a (was None)"
    )


def test_what_decides_on_no_weight_may_change(run: Run, config: TrainConfig) -> None:
    changes = {"evaluate_every": 2, "evaluation_batch_size": 2, "early_stopping": 3, "checkpoint_every": 7}
    changes |= {"category_ids": (1,)}
    other = config.model_copy(update=changes | {"log_images": 0})
    run.check_config(other)
    run.keep_config(other)
    assert run.config == other


def test_many_and_long_differences_are_cut(run: Run, config: TrainConfig) -> None:
    names = tuple(f"class {number}" for number in range(1000))
    with pytest.raises(RunError) as error:
        run.check_config(config.model_copy(update={"class_names": names}))
    assert len(str(error.value)) < 600


def test_a_run_without_weights_does_not_load(run: Run) -> None:
    with pytest.raises(RunError, match=r"a has no weights yet: best.weights.h5 is missing"):
        run.load()


def test_the_log_is_rewound_to_the_epochs_whose_weights_were_saved(run: Run) -> None:
    run.log_path.write_text("".join(json.dumps({"epoch": epoch, "loss": 0.5}) + "\n" for epoch in (1, 2, 3)))
    run.rewind(2)
    assert run.log == [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.5}]


def test_a_row_that_was_cut_off_is_no_row(run: Run) -> None:
    run.log_path.write_text('{"epoch": 1}\n{"epoch": 2, "lo')
    assert run.log == [{"epoch": 1}]


def test_a_log_that_was_never_written_has_no_rows(run: Run) -> None:
    assert run.log == []


def test_a_detector_needs_class_names_and_valid_overrides(config: TrainConfig) -> None:
    with pytest.raises(ConfigError, match="no class_names"):
        build_model(config.model_copy(update={"class_names": None}))
    wrong = config.model.model_copy(update={"overrides": {"activatoin": "relu"}})
    with pytest.raises(ConfigError, match=r"model: Unknown override 'activatoin'. Did you mean 'activation'"):
        build_model(config.model_copy(update={"model": wrong}))


def test_best_and_last_weights_are_weights_alone(tiny_run: Path) -> None:
    run = Run(tiny_run)
    for path in (run.weights_path, run.last_weights_path):
        with h5py.File(path) as file:
            assert "optimizer" not in file


OLD = [  # as configs were written when the schedule counted epochs from the end, and recipes set sync_bn
    "optimizer={decay_epochs: [30, 10], warmup_steps: 2000, warmup_from: 0.0067}",
    "model.overrides.sync_bn=true",
]


@pytest.fixture
def old_run(tmp_path: Path, tiny_model, write_config) -> Run:
    """Return a run of two epochs of an earlier version."""
    config = read_config(write_config(tmp_path), [*OLD, "class_names=[digit]"])
    run = Run(tmp_path / "old")
    run.create(config, model=build_model(config))
    return run


def test_an_old_run_loads_is_evaluated_and_exported(old_run: Run, succeed, tmp_path: Path) -> None:
    detector, config = old_run.load(), old_run.config
    assert config.model.overrides["sync_bn"] is True
    assert detector.backbone.get_config()["sync_bn"] is True
    succeed("evaluate", old_run.folder)
    succeed("export", old_run.folder, "--format", "tflite", "--output", tmp_path / "old.tflite")
    assert (tmp_path / "old.tflite").is_file()


ON_JAX = """
import pickle, sys
from spinenet_tf import cli
from spinenet_tf.nets.family import VARIANTS

VARIANTS["tiny"] = pickle.loads(bytes.fromhex(sys.argv.pop(1)))
cli.main()
"""


def test_an_old_run_is_evaluated_on_jax(old_run: Run, tiny_row, jax_process, tmp_path: Path) -> None:
    """Only export needs TensorFlow."""
    pytest.importorskip("jax")
    arguments = [
        pickle.dumps(tiny_row).hex(),
        "evaluate",
        str(old_run.folder),
        "--json",
        str(tmp_path / "numbers.json"),
    ]
    command = [sys.executable, "-c", ON_JAX, *arguments]
    child = subprocess.run(command, env=os.environ | jax_process, capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr[-2000:]
    assert json.loads((tmp_path / "numbers.json").read_text())["AP"] < 0.1, "its weights are random"
