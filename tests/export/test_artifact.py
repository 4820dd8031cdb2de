"""An artifact appears whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from spinenet_tf.export.artifact import size_of, staged


def write(target: Path, text: str, overwrite: bool = False) -> None:
    with staged(target, overwrite) as path:
        path.write_text(text)
        path.with_suffix(".beside").write_text(text)


def write_folder(target: Path, text: str, overwrite: bool = False) -> None:
    with staged(target, overwrite) as path:
        path.mkdir()
        (path / "saved_model.pb").write_text(text)


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
    writer(tmp_path / "a", "newer", overwrite=True)
    assert size_of(tmp_path / "a") == len("newer")


def test_a_file_beside_is_not_replaced_either(tmp_path) -> None:
    (tmp_path / "a.beside").write_text("mine")
    with pytest.raises(FileExistsError, match=r"a\.beside exists"):
        write(tmp_path / "a.txt", "new")
    assert names(tmp_path) == {"a.beside"}
    assert (tmp_path / "a.beside").read_text() == "mine"


def test_a_folder_of_something_else_is_never_replaced(tmp_path) -> None:
    folder = tmp_path / "runs"
    folder.mkdir()
    (folder / "precious.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="never replaced"):
        write_folder(folder, "new", overwrite=True)
    assert (folder / "precious.txt").read_text() == "mine"


def test_a_missing_folder_is_named(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match=r"There is no folder .*nowhere"):
        write(tmp_path / "nowhere" / "a.txt", "new")
