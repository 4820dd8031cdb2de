"""`spinenet-tf train --dry-run` and `spinenet-tf --version`: what they print, and that they write nothing."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from importlib.metadata import version

import pytest
import yaml

import spinenet_tf
from spinenet_tf import cli
from spinenet_tf.training.config import TrainConfig
from spinenet_tf.training.run import build_model


@pytest.fixture
def command(monkeypatch, capsys, tiny_model, tmp_path, write_config) -> Callable[..., tuple[int, str, str]]:
    """Return `command(*arguments)`, which runs the program in a folder with `tiny.yaml`."""
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["spinenet-tf", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code or 0, *capsys.readouterr()

    return run


def test_version_names_the_versions_that_a_bug_report_needs(command) -> None:
    code, out, err = command("--version")
    assert (code, err) == (0, "")
    assert out.startswith(f"spinenet-tf {spinenet_tf.__version__} (keras {version('keras')}, tensorflow ")


def table(text: str) -> dict[str, str]:
    """Return the rows of a printed table without borders."""
    return dict(
        re.split(r" {2,}", line.strip(), maxsplit=1) for line in text.splitlines() if re.match(r" \w.* {2,}", line)
    )


def test_a_dry_run_shows_what_a_detectors_training_would_do_and_writes_nothing(command, contents, tmp_path) -> None:
    before = contents(tmp_path)
    code, out, err = command("train", "tiny.yaml", "epochs=7", "--dry-run")
    assert (code, err) == (0, "")
    text, _, rest = out.partition("\n\n")
    config = TrainConfig.model_validate(yaml.safe_load(text))
    assert (config.class_names, config.epochs, config.optimizer.momentum) == (("digit",), 7, 0.9)
    assert config.data.train.digits == tmp_path / "data", "not the temporary folder"
    found = table(rest)
    assert (found["run"], found["steps per epoch"], found["steps"]) == ("runs/tiny", "2", "14")
    assert found["parameters"] == f"{build_model(config).count_params():,}"
    assert int(found["trainable parameters"].replace(",", "")) < int(found["parameters"].replace(",", ""))
    assert re.search(r"data\.train: .*by class", rest)
    assert re.search(r"images +8 ", rest)
    assert re.search(r"images +4 ", rest)
    assert re.search(r"box sizes +small \d+, medium \d+, large 0", rest)
    assert contents(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


def test_a_dry_run_of_a_classifier_counts_its_classes(command, tmp_path) -> None:
    source = {"digit_images": "data", "scenes": 8}
    values = {
        "task": "classification",
        "model": {"name": "tiny", "image_size": [32, 32], "overrides": {"max_level": 5}},
        "data": {"train": source, "val": source},
        "batch_size": 8,
        "epochs": 2,
        "freeze": ["backbone"],
    }
    (tmp_path / "classes.yaml").write_text(yaml.safe_dump(values))
    code, out, err = command("train", "classes.yaml", "--run", "mine", "--dry-run")
    assert (code, err) == (0, "")
    found = table(out)
    assert found["run"] == "mine"
    assert found["trainable parameters"] == f"{8 * 10 + 10}", "those of the last layer"
    assert len(re.findall(r"^.* 9 +\d+ ", out, re.MULTILINE)) == 2, "the number of nines in both sets"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["classes.yaml", "tiny.yaml"]


def test_a_dry_run_of_a_smoke_test_plans_two_steps(command, tmp_path) -> None:
    code, out, _ = command("train", "tiny.yaml", "--smoke", "--dry-run")
    assert (code, table(out)["steps"]) == (0, "2")
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("freeze=[nothing]", "freeze: no layer or variable matches"),
        ("optimizer.decay_epochs=[9]", "optimizer.decay_epochs must be less than epochs"),
        ("weights=nowhere", "nowhere"),
        ("class_names=[cat]", "class_names: the training data lacks some of them"),
        ("data.train={annotations: no.json, images: .}", "no.json: cannot be read"),
    ],
)
def test_a_dry_run_reports_what_training_would_refuse(command, tmp_path, override: str, message: str) -> None:
    code, _, err = command("train", "tiny.yaml", override, "--dry-run")
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


def test_a_dry_run_refuses_a_folder_as_training_does(command, tmp_path) -> None:
    (tmp_path / "runs" / "tiny").mkdir(parents=True)
    code, _, err = command("train", "tiny.yaml", "--dry-run")
    assert (code, "runs/tiny exists. Pass --resume" in err) == (2, True)
