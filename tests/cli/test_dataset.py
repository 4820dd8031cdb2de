"""Test every `spinenet-tf dataset` command, its exit codes, and that errors leave no files behind."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spinenet_tf import cli
from spinenet_tf.cli.program import dataset_app
from spinenet_tf.data.formats.digits import write_digits

COMMANDS = ("check", "convert", "show")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with `annotations.json` and `images`; do not modify it."""
    return write_digits(tmp_path_factory.mktemp("scenes"), 6)[0].parent


@pytest.fixture
def command(monkeypatch, capsys, tmp_path) -> Callable[..., tuple[int, str, str]]:
    """Return `command(*arguments)`: run `spinenet-tf dataset` in a temporary folder; return exit code and output."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["spinenet-tf", "dataset", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code or 0, *capsys.readouterr()

    return run


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(command, name: str) -> None:
    code, out, err = command(name, "--help")
    assert (code, err) == (0, "")
    assert f"Example: spinenet-tf dataset {name}" in out


def test_no_command_is_left_out_here() -> None:
    names = [info.name or info.callback.__name__ for info in dataset_app.registered_commands]
    assert sorted(COMMANDS) == sorted(names)


def test_check_exits_with_0_when_clean_and_1_with_problems(command, scenes: Path, tmp_path: Path) -> None:
    code, out, _ = command("check", scenes)
    assert code == 0
    assert "0 problems" in out
    damaged = shutil.copytree(scenes, tmp_path / "damaged")
    (damaged / "images" / "000002.jpg").write_bytes(b"")
    for arguments in ((damaged,), (damaged / "annotations.json", "--images", damaged / "images", "--headers")):
        code, out, _ = command("check", *arguments)
        assert code == 1
        assert f"refused: {(damaged / 'images' / '000002.jpg').resolve()}: image 2: not a readable image" in out
        assert "1 problems, 1 of them refused by training." in out


def test_check_prints_json(command, scenes: Path) -> None:
    code, out, _ = command("check", scenes, "--json", "--model", "spinenet_mobile_49", "--image-size", 128, 160)
    findings = json.loads(out)
    assert code == 0
    assert findings["problems"] == []
    assert findings["statistics"]["images"] == 6
    assert findings["statistics"]["anchors"]["image_size"] == [128, 160]


def test_convert_goes_to_records_and_back(command, scenes: Path, tmp_path: Path) -> None:
    assert command("convert", scenes, "train", "--shards", 2)[0] == 0
    files = ["categories.json", "train-00000-of-00002.tfrecord", "train-00001-of-00002.tfrecord"]
    assert sorted(path.name for path in (tmp_path / "train").iterdir()) == files
    assert command("convert", tmp_path / "train" / "train", "back")[0] == 0
    there, back = (json.loads((path / "annotations.json").read_text()) for path in (scenes, tmp_path / "back"))
    assert there == back
    for path in (scenes / "images").iterdir():
        assert path.read_bytes() == (tmp_path / "back" / "images" / path.name).read_bytes()
    assert command("convert", scenes, "copy", "--to", "coco")[0] == 0
    assert command("convert", scenes, "masks", "--masks")[0] == 0
    assert command("convert", scenes, "yolo", "--to", "yolo")[0] == 0
    assert command("check", "yolo", "--model", "spinenet_49s")[0] == 0
    assert (tmp_path / "copy" / "annotations.json").is_file()


def test_show_draws_boxes_on_a_sheet(command, scenes: Path, tmp_path: Path) -> None:
    assert command("show", scenes, "sheet.png", "--count", 3, "--columns", 2)[0] == 0
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert min(sheet.shape[:2]) > 600  # two rows and columns of at least 320 px each
    code, _, err = command("show", scenes, "sheet.png")
    assert (code, err.strip()) == (2, "spinenet-tf: sheet.png exists. Pass --overwrite to replace it.")
    assert command("show", scenes, "sheet.png", "--overwrite", "--count", 1)[0] == 0
    assert np.asarray(Image.open(tmp_path / "sheet.png")).size < sheet.size


def test_a_mistake_is_one_line_and_leaves_nothing_behind(command, scenes: Path, tmp_path: Path) -> None:
    for arguments, message in [
        (("check", "none"), "there is no such file or folder"),
        (("check", scenes, "--model", "resnet"), "Unknown model"),
        (("convert", scenes, "new", "--shards", 7), "1 to 6 shards"),
        (("convert", scenes, scenes), "exists"),
        (("convert", "none", "new"), "there is no such file or folder"),
        (("show", "none", "sheet.png"), "there is no such file or folder"),
        (("show", scenes, "none/sheet.png"), "none"),
    ]:
        code, _, err = command(*arguments)
        assert code == 2
        assert message in err
        assert err.startswith("spinenet-tf: ")
        assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
