"""Test that files are found in any Unicode normalization, and only inside the data set's folder."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from spinenet_tf.data.dataset import DataError, ImageError
from spinenet_tf.data.files import find_inside, read_lines, read_text

COMPOSED = unicodedata.normalize("NFC", "café/Übung.jpg")
DECOMPOSED = unicodedata.normalize("NFD", COMPOSED)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path.resolve()


def _write(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"image")
    return path


@pytest.mark.parametrize(("stored", "asked"), [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED), (COMPOSED, COMPOSED)])
def test_a_name_is_found_in_any_unicode_normalization(root: Path, stored: str, asked: str) -> None:
    path = _write(root / stored)
    assert find_inside(root, asked) == path


def test_the_first_name_that_exists_is_taken(root: Path) -> None:
    second, third = _write(root / "b.jpg"), _write(root / "c.jpg")
    assert find_inside(root, "a.jpg", "b.jpg", "c.jpg") == second
    assert find_inside(root, "c.jpg", "b.jpg") == third
    with pytest.raises(ImageError, match=r"no such file.*'x\.jpg'"):
        find_inside(root, "x.jpg", "y.jpg")


def test_many_names_in_another_normalization_read_their_folder_once(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"Übung{number}.jpg" for number in range(50)]
    for name in names:
        _write(root / "Bücher" / unicodedata.normalize("NFD", name))
    asked = []
    whole = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda folder: asked.append(folder) or whole(folder))
    for name in names:
        assert find_inside(root, f"Bücher/{name}").name == unicodedata.normalize("NFD", name)
    assert asked == [root, root / "Bücher"]
    _write(root / unicodedata.normalize("NFD", "später.jpg"))
    assert find_inside(root, "später.jpg").is_file(), "a file that came later is found too"


def test_a_normalized_name_does_not_lead_out_by_a_link(root: Path) -> None:
    folder = root / "inside"
    folder.mkdir()
    (folder / DECOMPOSED.replace("/", "-")).symlink_to(_write(root / "secret.jpg"))
    with pytest.raises(DataError, match="leads out"):
        find_inside(folder, COMPOSED.replace("/", "-"))


def test_no_folder_outside_is_listed_for_a_normalized_name(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = root / "inside"
    folder.mkdir()
    (root / "secret").mkdir()
    (folder / unicodedata.normalize("NFD", "Bücher")).symlink_to(root / "secret")
    asked = []
    whole = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda path: asked.append(path) or whole(path))
    with pytest.raises(DataError, match="leads out"):
        find_inside(folder, "Bücher/1.jpg")
    assert asked == [folder]


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_bytes(b"\xef\xbb\xbfcar \r\n bus\t\r\n\r\ntruck\r\n \r\n\r\n")
    assert read_text(path).startswith("car")
    assert read_lines(path) == ["car", "bus", "", "truck"]
