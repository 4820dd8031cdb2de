"""Test that the built-in data set is reproducible, its sizes are in range, and its folders are written whole."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spinenet_tf import data
from spinenet_tf.data.dataset import DataError, DetectionDataset
from spinenet_tf.data.formats.digit_scenes import SIZES
from spinenet_tf.data.formats.digits import write_digits
from spinenet_tf.data.input.pipeline import check_images

SCENES = 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("digits")


@pytest.fixture(scope="module")
def dataset(folder: Path) -> DetectionDataset:
    return data.digits(folder, "train", SCENES)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_same_arguments_write_the_same_bytes(folder: Path, dataset: DetectionDataset, tmp_path: Path) -> None:
    images, annotations = write_digits(tmp_path, SCENES)
    again, _ = write_digits(folder, SCENES)
    assert contents(images) == contents(again)
    assert annotations.name == "annotations.json"


def test_a_longer_set_begins_with_the_shorter_one_and_seeds_differ(dataset: DetectionDataset, tmp_path: Path) -> None:
    first = dataset.examples[0].path.read_bytes()
    assert (write_digits(tmp_path, 2)[0] / "000001.jpg").read_bytes() == first
    assert (write_digits(tmp_path, 2, seed=1)[0] / "000001.jpg").read_bytes() != first
    assert (write_digits(tmp_path, 2, split="val")[0] / "000001.jpg").read_bytes() != first


def test_one_class_has_the_same_scenes_and_boxes(folder: Path, dataset: DetectionDataset) -> None:
    single = data.digits(folder, "train", SCENES, classes=1)
    assert single.class_names == ("digit",)
    assert dataset.class_names == tuple("0123456789")
    for a, b in zip(single, dataset, strict=True):
        np.testing.assert_array_equal(a.boxes, b.boxes)
        assert not a.classes.any()
        assert a.path.read_bytes() == b.path.read_bytes()


def test_every_class_occurs_and_sizes_are_in_the_promised_range(dataset: DetectionDataset) -> None:
    boxes = np.concatenate([e.boxes for e in dataset])
    longest = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    assert set(np.concatenate([e.classes for e in dataset])) == set(range(10))
    assert longest.min() >= 6  # a digit of 10 px, partly hidden
    assert longest.max() <= SIZES[1]
    assert np.mean((longest >= 16) & (longest <= 64)) > 0.7
    assert all(1 <= len(e.boxes) <= 6 for e in dataset)
    assert all(112 <= side <= 176 for e in dataset for side in (e.height, e.width))
    assert {e.height > e.width for e in dataset} == {True, False}
    check_images(dataset)


def test_a_range_of_sizes_has_scenes_and_a_folder_of_its_own(folder: Path, dataset: DetectionDataset) -> None:
    wide = data.digits(folder, "train", SCENES, size=(192, 192), digit_sizes=(8, 120))
    assert wide[0].path.parents[1].name == "digits10-train-40-192x192-seed0-of-8-120px"
    boxes = np.concatenate([example.boxes for example in wide])
    longest = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    assert longest.min() >= 4  # a digit of 8 px, partly hidden
    assert longest.max() <= 120
    octaves = np.histogram(longest, [4, 16, 32, 64, 121])[0] / len(longest)
    assert octaves.min() > 0.1, "each level of a pyramid sees objects"
    contents = json.loads((wide[0].path.parents[1] / "annotations.json").read_text())["info"]["contents"]
    assert contents["digit_sizes"] == [8, 120]
    assert dataset[0].path.parents[1].name == "digits10-train-40-128x160-seed0"


@pytest.mark.parametrize("sizes", [None, (8, 60)])
def test_masks_are_the_visible_ink_and_fit_their_boxes(folder: Path, sizes: tuple[int, int] | None) -> None:
    for example in data.digits(folder, "val", 8, digit_sizes=sizes):
        for box, area, mask in zip(example.boxes, example.area, example.masks, strict=True):
            assert mask.box == tuple(box)
            assert mask.area == area > 0
            assert mask.decode().shape == (example.height, example.width)


def test_a_folder_of_an_earlier_version_gets_masks_and_keeps_its_images(tmp_path: Path) -> None:
    images, annotations = write_digits(tmp_path, 3)
    written, before = annotations.read_text(), {path: path.stat().st_mtime_ns for path in images.iterdir()}
    content = json.loads(written)
    for entry in content["annotations"]:
        del entry["segmentation"]
    annotations.write_text(json.dumps(content))
    write_digits(tmp_path, 3)
    assert annotations.read_text() == written
    assert {path: path.stat().st_mtime_ns for path in images.iterdir()} == before


def test_a_complete_folder_is_used_again_and_not_touched(folder: Path, dataset: DetectionDataset) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    data.digits(folder, "train", SCENES)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path in before} == before


def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    _, annotations = write_digits(tmp_path, 2)
    content = json.loads(annotations.read_text())
    content["info"]["contents"]["size"] = [1, 1]
    annotations.write_text(json.dumps(content))
    with pytest.raises(DataError, match="exists with other contents"):
        write_digits(tmp_path, 2)
    annotations.unlink()
    with pytest.raises(DataError, match="exists with other contents"):
        write_digits(tmp_path, 2)


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        write_digits(tmp_path, 2)
    assert list(tmp_path.iterdir()) == []


def test_missing_scikit_learn_is_said_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r"pip install spinenet_tf\[demo\]"):
        write_digits(tmp_path, 2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        {"scenes": 0},
        {"seed": -1},
        {"classes": 3},
        {"split": "test"},
        {"size": (10, 128)},
        {"digit_sizes": (7, 80)},
        {"digit_sizes": (20, 20)},
        {"digit_sizes": (80, 120)},  # the scene is not twice as large as the smallest digit
    ],
)
def test_arguments_out_of_range_are_refused(tmp_path: Path, arguments: dict) -> None:
    with pytest.raises(ValueError, match="Received: "):
        write_digits(tmp_path, **({"scenes": 2} | arguments))
    assert list(tmp_path.iterdir()) == []
