"""An artifact is written completely or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spinenet_tf._files.size import size_of
from spinenet_tf.export.artifact import staged

METADATA = json.dumps({"task": "detection", "model": "tiny", "quantization": "none", "input": {}, "outputs": {}})


def write(target: Path, text: str, overwrite: bool = False) -> None:
    with staged(target, overwrite) as path:
        path.write_text(text)
        path.with_suffix(".beside").write_text(text)


def write_folder(target: Path, text: str, overwrite: bool = False) -> None:
    with staged(target, overwrite) as path:
        (path / "assets").mkdir(parents=True)
        (path / "saved_model.pb").write_text(text)
        (path / "assets" / "metadata.json").write_text(METADATA)


def fail_midway(target: Path) -> None:
    with staged(target, overwrite=True) as path:
        path.write_text("half")
        raise RuntimeError("midway")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_appears_with_what_lies_beside_it_and_nothing_else(tmp_path) -> None:
    write(tmp_path / "a.txt", "new")
    assert names(tmp_path) == {"a.txt", "a.beside"}
    assert (tmp_path / "a.txt").read_text() == "new"
    assert size_of(tmp_path / "a.txt") == 3


@pytest.mark.parametrize("writer", [write, write_folder])
def test_after_an_error_what_stood_there_still_stands(writer, tmp_path) -> None:
    writer(tmp_path / "a.txt", "old")
    before = {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(RuntimeError, match="midway"):
        fail_midway(tmp_path / "a.txt")
    assert {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("writer", [write, write_folder])
def test_replacing_needs_overwrite(writer, tmp_path) -> None:
    writer(tmp_path / "a", "old")
    with pytest.raises(FileExistsError, match=r"a exists\. Pass overwrite=True"):
        writer(tmp_path / "a", "new")
    before = size_of(tmp_path / "a")
    writer(tmp_path / "a", "newer", overwrite=True)
    assert size_of(tmp_path / "a") == before + len("newer") - len("old")


def test_a_file_beside_is_not_replaced_either(tmp_path) -> None:
    (tmp_path / "a.beside").write_text("mine")
    with pytest.raises(FileExistsError, match=r"a\.beside exists"):
        write(tmp_path / "a.txt", "new")
    assert names(tmp_path) == {"a.beside"}
    assert (tmp_path / "a.beside").read_text() == "mine"


def test_files_of_two_formats_share_their_metadata(tmp_path) -> None:
    """Exporting model.onnx after model.tflite failed at the end, because the labels were there."""
    for name, labels in (("model.tflite", "cat"), ("model.onnx", "dog")):
        with staged(tmp_path / name, overwrite=False) as path:
            path.write_text("metadata.json")
            path.with_suffix(".metadata.json").write_text(METADATA)
            path.with_suffix(".labels.txt").write_text(labels)
    assert names(tmp_path) == {"model.tflite", "model.onnx", "model.metadata.json", "model.labels.txt"}
    assert (tmp_path / "model.labels.txt").read_text() == "dog"


def test_a_folder_of_something_else_is_never_replaced(tmp_path) -> None:
    folder = tmp_path / "runs"
    folder.mkdir()
    (folder / "precious.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="never replaced"):
        write_folder(folder, "new", overwrite=True)
    assert (folder / "precious.txt").read_text() == "mine"


def fill(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


PAGE = {name: "" for name in ("index.html", "page.js", "detector.js", "style.css", "model.tflite", "vendor/core/a.js")}
OURS = [
    {"saved_model.pb": "", "fingerprint.pb": "", "variables/variables.index": "", "assets/metadata.json": METADATA},
    {"saved_model.pb": "", "assets.extra/metadata.json": METADATA},  # as the first versions wrote it
    PAGE | {"model.metadata.json": METADATA, "model.labels.txt": "cat"},
    PAGE | {"model.metadata.json": METADATA, ".DS_Store": ""},  # a Mac's, in every folder that was looked at
]


@pytest.mark.parametrize("files", OURS)
def test_a_folder_that_an_export_wrote_is_replaced(tmp_path: Path, files: dict[str, str]) -> None:
    folder = fill(tmp_path / "model", files)
    write_folder(folder, "new", overwrite=True)
    assert names(folder) == {"saved_model.pb", "assets"}


@pytest.mark.parametrize(
    "files",
    [
        {"saved_model.pb": "", "variables/variables.index": ""},  # of another program
        {"saved_model.pb": "", "assets/metadata.json": "[]"},
        {"saved_model.pb": "", "assets/metadata.json": '{"task": "detection"}'},
        {"saved_model.pb": "", "assets/metadata.json": "[" * 100_000},
        {"detector.js": "// my own", "thesis.tex": ""},
        PAGE,
        PAGE | {"model.metadata.json": "{"},
        {"assets/metadata.json": METADATA},
        {"model.metadata.json": METADATA},
    ],
)
def test_what_only_looks_like_an_export_is_never_replaced(tmp_path: Path, contents, files: dict[str, str]) -> None:
    folder = fill(tmp_path / "model", files)
    before = contents(folder)
    with pytest.raises(FileExistsError, match="model is a folder with other content, which is never replaced"):
        write_folder(folder, "new", overwrite=True)
    assert contents(folder) == before


@pytest.mark.parametrize("files", OURS)
@pytest.mark.parametrize("mine", ["notes.txt", ".git/HEAD", "images/1.jpg"])
def test_what_somebody_put_into_an_export_is_never_deleted(tmp_path: Path, contents, files, mine: str) -> None:
    folder = fill(tmp_path / "model", files | {mine: "mine"})
    before = contents(folder)
    with pytest.raises(FileExistsError, match=f"model contains {mine.partition('/')[0]}, which no export wrote"):
        write_folder(folder, "new", overwrite=True)
    assert contents(folder) == before


def test_a_missing_folder_is_named(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match=r"The output folder .*nowhere does not exist"):
        write(tmp_path / "nowhere" / "a.txt", "new")
