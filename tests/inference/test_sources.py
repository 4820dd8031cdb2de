"""Images and videos are found at any depth, by patterns and in lists, and what is skipped is named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from spinenet_tf.data.dataset import DataError
from spinenet_tf.inference.sources import find_sources


@pytest.fixture
def photos(tmp_path: Path, monkeypatch) -> Path:
    for name in (
        "b.PNG",
        "a.jpg",
        "notes.txt",
        ".hidden.jpg",
        "2025/c.mp4",
        "2025/12/d.jpg",
        ".git/e.jpg",
        "f.jpg/g.webp",
    ):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "photos"


def names(*given: object) -> list[str]:
    found = find_sources([str(one) for one in given])
    return [found.name_of(file) for file in found.files]


def test_a_folder_is_searched_at_any_depth_in_the_order_of_names(photos: Path) -> None:
    found = find_sources([photos])
    assert names(photos) == ["a.jpg", "b.PNG", "2025/c.mp4", "2025/12/d.jpg", "f.jpg/g.webp"]
    assert names("photos") == names(photos)
    assert found.skipped == ("notes.txt",)


def test_names_are_relative_to_the_folder_of_all_files(photos: Path) -> None:
    assert names(photos / "a.jpg") == ["a.jpg"]
    assert names("photos/2025", "photos/a.jpg") == ["2025/c.mp4", "2025/12/d.jpg", "a.jpg"]


def test_a_pattern_selects_files_and_folders(photos: Path) -> None:
    assert names("photos/*.jpg") == ["a.jpg", "f.jpg/g.webp"]
    assert names("photos/**/*.jpg") == ["2025/12/d.jpg", "a.jpg"]
    with pytest.raises(FileNotFoundError, match=r"No file matches photos/\*\.tif\."):
        find_sources(["photos/*.tif"])


def test_each_file_is_used_once(photos: Path) -> None:
    assert names("photos/a.jpg", "photos/../photos/a.jpg", photos / "a.jpg", "photos/*.jpg") == [
        "a.jpg",
        "f.jpg/g.webp",
    ]


def test_a_file_that_is_given_itself_is_used_whatever_its_name(photos: Path) -> None:
    assert names("photos/notes.txt") == ["notes.txt"]


def test_links_are_followed_and_a_circle_ends(photos: Path) -> None:
    os.symlink(photos, photos / "2025" / "all")
    os.symlink(photos / ".git", photos / "linked")
    assert names(photos) == ["a.jpg", "b.PNG", "2025/c.mp4", "2025/12/d.jpg", "f.jpg/g.webp", "linked/e.jpg"]


def test_without_images_the_message_names_what_is_there(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"^empty has no images or videos \(.*\)\. It has no other files\.$"):
        find_sources(["empty"])
    (tmp_path / "empty" / "a.heic").write_text("")
    with pytest.raises(DataError, match=r"It has a\.heic\.$"):
        find_sources(["empty"])
    with pytest.raises(DataError, match="The list has no images"):
        find_sources([])
    with pytest.raises(FileNotFoundError, match=r"There is no image or folder none\.jpg\."):
        find_sources(["photos", "none.jpg"])
