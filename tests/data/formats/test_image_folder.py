"""Test reading a folder of class folders."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from spinenet_tf.data.dataset import ClassificationExample, DataError
from spinenet_tf.data.formats.image_folder import read_image_folder


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not opened by the reader")


def test_classes_are_numbered_by_name_and_images_come_in_order(tmp_path: Path) -> None:
    touch(tmp_path / "dog" / "b.PNG", tmp_path / "dog" / "a" / "z.jpg", tmp_path / "cat" / "c.webp")
    dataset = read_image_folder(tmp_path)
    assert dataset.name == tmp_path.name
    assert dataset.class_names == ("cat", "dog")
    assert list(dataset) == [
        ClassificationExample(tmp_path / "cat" / "c.webp", 0),
        ClassificationExample(tmp_path / "dog" / "a" / "z.jpg", 1),
        ClassificationExample(tmp_path / "dog" / "b.PNG", 1),
    ]


def test_what_is_hidden_or_no_image_is_passed_over(tmp_path: Path) -> None:
    touch(tmp_path / "cat" / "a.jpg", tmp_path / "cat" / ".a.jpg", tmp_path / "cat" / "notes.txt")
    touch(tmp_path / ".cache" / "a.jpg", tmp_path / "cat" / ".thumbs" / "a.jpg", tmp_path / "b.jpg")
    (tmp_path / "cat" / "folder.jpg").mkdir()
    assert [example.path.name for example in read_image_folder(tmp_path)] == ["a.jpg"]


def test_what_cannot_be_learned_from_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none: there is no such folder"):
        read_image_folder(tmp_path / "none")
    with pytest.raises(DataError, match="has no class folders"):
        read_image_folder(tmp_path)
    touch(tmp_path / "cat" / "a.jpg", tmp_path / "dog" / "notes.txt")
    with pytest.raises(DataError, match="dog: the class folder has no images"):
        read_image_folder(tmp_path)


def test_class_names_are_composed_whatever_the_disk_has(tmp_path: Path) -> None:
    """Data from a macOS archive must have the same classes."""
    touch(tmp_path / unicodedata.normalize("NFD", "Äpfel") / "1.jpg", tmp_path / "Birnen" / "1.jpg")
    assert read_image_folder(tmp_path).class_names == ("Birnen", unicodedata.normalize("NFC", "Äpfel"))
    touch(tmp_path / unicodedata.normalize("NFC", "Äpfel") / "2.jpg")
    with pytest.raises(DataError, match=r"two folder names differ only in Unicode normalization.*Received: 'Äpfel'"):
        read_image_folder(tmp_path)
