"""Test that unambiguous deviations from COCO are read, reported, and corrected."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from spinenet_tf.data.bad_images import BadImages
from spinenet_tf.data.checking import check
from spinenet_tf.data.dataset import DataError, DetectionDataset, ImageError
from spinenet_tf.data.formats.coco import load_coco, read_coco, write_coco
from spinenet_tf.data.formats.tfrecord import read_tfrecord
from spinenet_tf.data.formats.tfrecord_writer import write_tfrecord
from spinenet_tf.data.problems import Problems

PLAIN = {
    "images": [
        {"id": 7, "file_name": "a.png", "height": 40, "width": 60},
        {"id": 3, "file_name": "sub/b.png", "height": 30, "width": 20},
    ],
    "categories": [{"id": 2, "name": "cat"}, {"id": 5, "name": "dog"}],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 5, "bbox": [10, 20, 30, 15.5], "area": 99.5, "iscrowd": 1},
        {"id": 2, "image_id": 7, "category_id": 2, "bbox": [0, 0, 8, 9], "area": 72, "iscrowd": 0},
        {"id": 4, "image_id": 3, "category_id": 2, "bbox": [3, 4, 10, 20], "area": 200, "iscrowd": 0},
    ],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for entry in PLAIN["images"]:
        path = tmp_path / "pictures" / entry["file_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (entry["width"], entry["height"])).save(path)
    return tmp_path


def write(folder: Path, content: object) -> tuple[Path, Path]:
    (folder / "train.json").write_text(json.dumps(content))
    return folder / "train.json", folder / "pictures"


def same(found: DetectionDataset, expected: DetectionDataset) -> None:
    assert (found.class_names, found.category_ids) == (expected.class_names, expected.category_ids)
    for ours, theirs in zip(found, expected, strict=True):
        for name in ("image_id", "height", "width"):
            assert getattr(ours, name) == getattr(theirs, name)
        assert ours.path.read_bytes() == theirs.path.read_bytes()
        for name in ("boxes", "classes", "crowd", "area"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))


def change(kind: str, place: int, **values: object) -> Callable[[dict], None]:
    return lambda content: content[kind][place].update(values)


def drop(kind: str, place: int, *keys: str) -> Callable[[dict], None]:
    return lambda content: [content[kind][place].pop(key) for key in keys]


RLE = {"counts": [30 * 3 + 4, 20] + [10, 20] * 9 + [6 + 30 * 7], "size": [30, 20]}

WAYS = {
    "backslashes in names": (change("images", 1, file_name="sub\\b.png"), "image 3", "there is no file with this name"),
    "images/ before names": (change("images", 0, file_name="images/a.png"), "image 7", "there is no file with this"),
    "the folder before names": (change("images", 1, file_name="pictures\\sub\\b.png"), "image 3", "there is no file"),
    "sizes as floats": (change("images", 0, height=40.0, width=60.0), "image 7", "height is a decimal"),
    "sizes as text": (change("images", 0, height="40", width=" 60.0 "), "image 7", "height is text"),
    "size null": (change("images", 1, height=None, width=None), "image 3", "height and width of the image: missing"),
    "size missing": (drop("images", 1, "width"), "image 3", "width of the image: missing"),
    "image id as text": (change("images", 1, id="0003"), "image at 1", "id is text"),
    "image id as float": (change("images", 1, id=3.0), "image at 1", "id is a decimal"),
    "image_id as text": (change("annotations", 2, image_id="3"), "annotation 4", "image_id is text"),
    "category_id as float": (change("annotations", 0, category_id=5.0), "annotation 1", "category_id is a decimal"),
    "category id as text": (change("categories", 1, id="5"), "category at 1", "id is text"),
    "box as text": (change("annotations", 0, bbox=["10", 20, "3e1", "15.50"]), "annotation 1", "bbox contains text"),
    "area as text": (change("annotations", 0, area="99.5"), "annotation 1", "area is text"),
    "area null": (change("annotations", 1, area=None), "annotation 2", "area is null"),
    "iscrowd null": (change("annotations", 1, iscrowd=None), "annotation 2", "iscrowd is null"),
    "iscrowd as text": (change("annotations", 0, iscrowd="1"), "annotation 1", "iscrowd is text"),
    "id null": (change("annotations", 1, id=None), "annotation at 1", "the id is missing"),
    "id missing": (drop("annotations", 1, "id"), "annotation at 1", "the id is missing"),
    "id twice": (change("annotations", 2, id=1), "annotation at 2", "the id is used twice"),
    "polygons without a box": (
        change("annotations", 2, bbox=None, segmentation=[[3, 4, 13, 4, 8, 20], [5, 24, 6, 24, 6, 23]]),
        "annotation 4",
        "the box is missing",
    ),
    "a mask without a box": (
        change("annotations", 2, bbox=[], segmentation=RLE),
        "annotation 4",
        "the box is missing",
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_what_is_plain_is_read_and_noted_and_converted(folder: Path, way: str) -> None:
    plain = read_coco(*write(folder, PLAIN))
    content = copy.deepcopy(PLAIN)
    apply, entry, note = WAYS[way]
    apply(content)
    files = write(folder, content)
    same(read_coco(*files), plain)
    noted = [problem for problem in check(str(files[0]), files[1]).problems if problem.place.file == files[0]]
    assert not any(problem.refused for problem in noted)
    assert noted[0].place.entry == entry
    assert noted[0].message.startswith(note)
    write_tfrecord(load_coco(*files), folder / "records")
    same(read_tfrecord(folder / "records"), plain)
    back = write_coco(load_coco(*files), folder / "back")
    assert check(str(back), back.parent / "images").problems == (), "what is written is COCO as it should be"
    same(read_coco(back, back.parent / "images"), plain)
    ids = [annotation["id"] for annotation in json.loads(back.read_text())["annotations"]]
    assert len(set(ids)) == 3


def test_a_way_that_a_whole_file_has_is_noted_once(folder: Path) -> None:
    content = copy.deepcopy(PLAIN)
    for annotation in content["annotations"]:
        annotation["area"] = None
    files = write(folder, content)
    (problem,) = check(str(files[0]), files[1]).problems
    assert problem.message == "area is null, and treated as missing (the first of 3)"
    assert read_coco(*files).examples[0].area.tolist() == [30 * 15.5, 72]


@pytest.mark.parametrize(
    ("apply", "message"),
    [
        (change("images", 0, height=40.5), "image 7: sizes must be positive integers"),
        (change("images", 0, height=""), "image 7: sizes must be positive integers"),
        (change("images", 0, id=2.0**60), "image at 0: image ids must be integers"),
        (change("images", 0, id="7a"), "image at 0: image ids must be integers"),
        (change("images", 0, id="3"), "image 3: the id is used twice"),
        (change("images", 0, id=True), "image at 0: image ids must be integers"),
        (change("annotations", 0, id="x"), "annotation at 0: annotation ids must be integers"),
        (change("annotations", 0, image_id=7.5), "annotation 1: unknown image_id"),
        (change("annotations", 0, bbox=["1", "2", "x", "4"]), "annotation 1: a box must be four finite numbers"),
        (change("annotations", 0, bbox=["1", "2", "nan", "4"]), "annotation 1: a box must be four finite numbers"),
        (change("annotations", 0, bbox="1 2 3 4"), "annotation 1: a box must be four finite numbers"),
        (drop("annotations", 0, "bbox"), "annotation 1: a box must be four finite numbers. Received: bbox=None"),
        (change("annotations", 0, bbox=None, segmentation=RLE), "annotation 1: a box must be four finite numbers"),
        (change("annotations", 0, area="large"), "annotation 1: the area must be a finite number"),
        (change("annotations", 0, iscrowd="no"), "annotation 1: iscrowd must be 0 or 1"),
        (change("images", 0, file_name="images\\..\\..\\train.json"), "image 7: the file name leads out"),
        (change("images", 0, file_name="images//etc/passwd"), "image 7: the image folder has no such file"),
        (change("images", 0, file_name="\\a.png"), "image 7: the file name leads out"),
        (change("images", 0, file_name="C:\\images\\a.png"), "image 7: the file name leads out"),
        (change("images", 0, file_name="images/c.png"), "image 7: the image folder has no such file"),
        (change("images", 0, file_name="c.png", width=None), "image 7: the image folder has no such file"),
    ],
)
def test_what_has_two_meanings_or_none_is_refused(folder: Path, apply: Callable, message: str) -> None:
    content = copy.deepcopy(PLAIN)
    apply(content)
    with pytest.raises(DataError) as caught:
        read_coco(*write(folder, content))
    assert message in str(caught.value)


def test_an_image_without_a_size_that_cannot_be_read_is_a_bad_image(folder: Path) -> None:
    (folder / "pictures" / "a.png").write_bytes(b"no image")
    content = copy.deepcopy(PLAIN)
    content["images"][0]["height"] = None
    files, bad = write(folder, content), BadImages(0.6)
    with pytest.raises(ImageError, match=r"image 7: .*a\.png: not a readable image"):
        read_coco(*files)
    bad.count_among(range(2))
    assert [example.image_id for example in read_coco(*files, Problems(bad_images=bad))] == [3]
    assert len(bad) == 1


def test_a_file_of_the_name_as_it_stands_goes_first(folder: Path) -> None:
    (folder / "pictures" / "images").mkdir()
    Image.new("RGB", (60, 40), "red").save(folder / "pictures" / "images" / "a.png")
    content = copy.deepcopy(PLAIN)
    content["images"][0]["file_name"] = "images/a.png"
    files = write(folder, content)
    assert read_coco(*files).examples[0].path == (folder / "pictures" / "images" / "a.png").resolve()
    assert check(str(files[0]), files[1]).problems == ()


def gathered(*categories: tuple[int, str, str | None]) -> dict[str, Any]:
    entries = [{"id": key, "name": name, "supercategory": parent} for key, name, parent in categories]
    return PLAIN | {"categories": entries}


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (gathered((0, "pets", "none"), (2, "cat", "pets"), (5, "dog", "pets")), ("cat", "dog")),
        (gathered((0, "cat", "none"), (2, "cat", "cat"), (5, "dog", "cat")), ("cat", "dog")),
        (gathered((1, "bird", "bird"), (2, "cat", None), (5, "dog", None)), ("bird", "cat", "dog")),
        (gathered((2, "cat", "dog"), (5, "dog", "animal")), ("cat", "dog")),
    ],
    ids=["a root", "a root of the same name", "nobody's root but its own", "a parent that has objects"],
)
def test_categories_that_only_gather_others_are_no_classes(folder: Path, content: dict, names: tuple[str, ...]) -> None:
    files = write(folder, content)
    assert read_coco(*files).class_names == names
    notes = [problem for problem in check(str(files[0]), files[1]).problems]
    left_out = len(content["categories"]) - len(names)
    assert [note.place.entry for note in notes] == ["category 0"] * left_out
    assert all("the supercategory of others" in note.message and not note.refused for note in notes)
    back = write_coco(load_coco(*files), folder / "back")
    assert json.loads(back.read_text())["categories"] == content["categories"], "converting keeps them"
