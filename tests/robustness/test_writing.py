"""Test that all artifacts are written atomically: on full and read-only disks, after kills and system errors."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
import pytest

import spinenet_tf
from spinenet_tf._files import writing
from spinenet_tf._files.appending import append_lines
from spinenet_tf._files.writing import WriteError, write_whole
from spinenet_tf.checkpoints import pretrained
from spinenet_tf.cli import main
from spinenet_tf.data.formats.coco import load_coco, write_coco
from spinenet_tf.data.formats.digits import write_digits
from spinenet_tf.data.formats.tfrecord_writer import write_tfrecord
from spinenet_tf.drawing.boxes import save_png
from spinenet_tf.evaluation.page import element, write_page
from spinenet_tf.export.artifact import staged as export_staged
from spinenet_tf.training.callbacks import JsonLog
from spinenet_tf.training.clock import Clock
from spinenet_tf.training.config import TrainConfig
from spinenet_tf.training.run import Run
from spinenet_tf.training.state import TrainingState

ROOM = 512 * 1024  # bytes of the small disk
NOISE = np.random.default_rng(0).integers(0, 256, (512, 512, 3), np.uint8)  # does not compress: 768 KiB


def mount(*arguments: str) -> None:
    done = subprocess.run(["mount", "-t", "tmpfs", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a file system cannot be mounted here; the limit on files is tried. {done.stderr.strip()}")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a folder on a file system with `ROOM` bytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount("-o", f"size={ROOM}", "tmpfs", str(folder))
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[Path]:
    """Return a folder, and limit the size of files that this process writes to a few KiB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    folder = tmp_path / "limited"
    folder.mkdir()
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM // 16, before[1]))
    yield folder
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Path:
    """Return the COCO file of scenes that do not fit on the small disk."""
    return write_digits(tmp_path_factory.mktemp("scenes"), scenes=12, size=(480, 640))[1]


def wide_model() -> keras.Model:
    model = keras.Sequential([keras.Input((256,)), keras.layers.Dense(256)])
    model.compile(keras.optimizers.Adam(), "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def state(folder: Path, step: int) -> TrainingState:
    made = TrainingState(folder / "states", wide_model(), Clock(10), averages=[])
    made.clock.set(0, step)
    return made


class Writers:
    """One function per kind of artifact, each of which writes more than fits on the small disk."""

    def __init__(self, model, scenes: Path):
        self.model, self.scenes = model, scenes
        values = {"model": {"name": "spinenet_49", "image_size": [64, 64]}, "batch_size": 1, "epochs": 1}
        self.config = TrainConfig.model_validate(values)

    def weights(self, folder: Path) -> None:
        self.model.save_weights(folder / "best.weights.h5")

    def state(self, folder: Path) -> None:
        state(folder, 2).save()

    def run(self, folder: Path) -> None:
        Run(folder / "run").create(self.config, overwrite=True, model=self.model)

    def log(self, folder: Path) -> None:
        log = JsonLog(folder / "log.jsonl", Clock(1))
        log.on_epoch_end(0, {f"loss_{number:06}": number for number in range(40_000)})

    def rewound_log(self, folder: Path) -> None:
        class LongRun(Run):
            log = ({"epoch": 1, "text": "x" * 2 * ROOM},)

        LongRun(folder).rewind(1)

    def picture(self, folder: Path) -> None:
        save_png(folder / "sheet.png", NOISE)

    def report(self, folder: Path) -> None:
        write_page(folder / "report", "Title", "tests", [element("p", "x" * 2 * ROOM)])

    def lines(self, folder: Path) -> None:
        append_lines(folder / "lines.jsonl", ["short", "x" * 2 * ROOM])

    def coco(self, folder: Path) -> None:
        write_coco(load_coco(self.scenes, self.scenes.parent / "images"), folder / "coco")

    def tfrecord(self, folder: Path) -> None:
        write_tfrecord(load_coco(self.scenes, self.scenes.parent / "images"), folder / "records")

    def digits(self, folder: Path) -> None:
        write_digits(folder / "data", scenes=12, size=(480, 640))

    def kept_weights(self, folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("KERAS_HOME", str(folder))
            pretrained._keep(self.model, "spinenet_49-backbone")

    def export(self, folder: Path) -> None:
        with export_staged(folder / "model.tflite", overwrite=True) as part:
            part.write_bytes(NOISE.tobytes())
            part.with_suffix(".metadata.json").write_text("{}")

    def json(self, folder: Path) -> None:
        write_whole(folder / "numbers.json", json.dumps("x" * 2 * ROOM))


KINDS = [name for name in vars(Writers) if not name.startswith("_")]


@pytest.fixture(scope="module")
def writers(scenes) -> Writers:
    model = spinenet_tf.backbone("spinenet_mobile_49xs", (64, 64, 3), max_level=5, width=0.8)
    return Writers(model, scenes)


def put_former(folder: Path) -> None:
    """Write small earlier artifacts to the writers' targets."""
    for name in ("best.weights.h5", "log.jsonl", "sheet.png", "model.tflite", "model.metadata.json", "numbers.json"):
        (folder / name).write_text("former" if name != "log.jsonl" else "")
    for name in ("report/index.html", "run/config.yaml"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("former")
    (folder / "lines.jsonl").write_text("former\n")
    (folder / "run/config.yaml").write_text(
        "model: {name: spinenet_49, image_size: [64, 64]}\nbatch_size: 1\nepochs: 1\n"
    )
    (folder / "spinenet_tf").mkdir()


def tree(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def check_refused(write: Callable[[Path], None], folder: Path, reason: str) -> None:
    before = tree(folder)
    with pytest.raises(WriteError, match=rf"was not written, and what was there is unchanged: {reason}") as error:
        write(folder)
    assert "\n" not in str(error.value)
    assert writing.PART not in str(error.value), "a user does not know the temporary name"
    assert tree(folder) == before


def test_a_full_disk_leaves_what_stood_there(small_disk: Path, writers: Writers, promise) -> None:
    put_former(small_disk)
    for kind in KINDS:
        check_refused(getattr(writers, kind), small_disk, "No space left on device")
    promise("Writing: on a full disk the old artifact stays complete, with a one-line error", cases=len(KINDS))


def test_a_limit_on_files_leaves_what_stood_there(limited: Path, writers: Writers, promise) -> None:
    put_former(limited)
    for kind in KINDS:
        check_refused(getattr(writers, kind), limited, "File too large")
    promise("Writing: over a quota, the old artifact stays complete, with a one-line error", cases=len(KINDS))


def test_a_read_only_disk_leaves_what_stood_there(small_disk: Path, writers: Writers, promise) -> None:
    put_former(small_disk)
    mount("-o", "remount,ro", str(small_disk))
    for kind in KINDS:
        check_refused(getattr(writers, kind), small_disk, "Read-only file system")
    promise("Writing: without permission the old artifact stays, with a one-line error", cases=len(KINDS))


PROGRAM = """
import importlib.util, os, sys
spec = importlib.util.spec_from_file_location("writing", sys.argv[1])
writing = importlib.util.module_from_spec(spec)
sys.modules["writing"] = writing
spec.loader.exec_module(writing)
os.setgid(65534), os.setuid(65534)
try:
    writing.write_whole(sys.argv[2], "new")
except writing.WriteError as error:
    print(error)
"""


def test_another_users_folder_leaves_what_stood_there(tmp_path: Path, promise) -> None:
    if os.getuid():
        pytest.skip("only root can become another user; the read-only disk is tried")
    target = tmp_path / "numbers.json"
    target.write_text("former")
    for parent in (tmp_path, *tmp_path.parents):  # pytest's own folders let nobody else in
        if parent.name.startswith("pytest-"):
            parent.chmod(0o755)
    tmp_path.chmod(0o755)
    command = [sys.executable, "-c", PROGRAM, writing.__file__, str(target)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed.startswith(f"{target} was not written, and what was there is unchanged: Permission denied")
    assert target.read_text() == "former"
    promise("Writing: without permission the old artifact stays, with a one-line error", cases=1)


def test_the_command_line_says_so_in_one_line_and_exits_with_2(
    small_disk: Path, tiny_run: Path, tiny_model: str, capsys, monkeypatch, promise
) -> None:
    put_former(small_disk)
    (small_disk / "fill").write_bytes(b"x" * (ROOM - 64 * 1024))
    before, (scenes,) = tree(small_disk), (tiny_run.parent / "data").glob("*-train-*")
    commands: list[list[object]] = [
        ["export", tiny_run, "--format", "saved_model", "--output", small_disk / "saved"],
        ["dataset", "convert", scenes, small_disk / "records"],
    ]
    for command in commands:
        monkeypatch.setattr(sys, "argv", ["spinenet-tf", *map(str, command)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        assert re.search(
            r"^spinenet-tf: .* was not written, and what was there .*\.$", capsys.readouterr().err, re.MULTILINE
        )
        assert tree(small_disk) == before
    promise("Writing: on a full disk a command exits with 2 and leaves the old files", cases=len(commands))
