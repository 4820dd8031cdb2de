"""Test reading COCO JSON: what is kept, what is rejected, and what the messages contain."""

from __future__ import annotations

import copy
import json
import logging
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as oracle

from spinenet_tf.data.dataset import DataError
from spinenet_tf.data.formats.coco import read_coco

GOOD = {
    "images": [
        {"id": 7, "file_name": "a.jpg", "height": 40, "width": 60},
        {"id": 3, "file_name": "sub/b.jpg", "height": 30, "width": 20},
    ],
    "categories": [{"id": 90, "name": "toothbrush"}, {"id": 1, "name": "person"}],
    "annotations": [
        {"id": 5, "image_id": 7, "category_id": 90, "bbox": [10, 20, 30, 15], "area": 123.5, "iscrowd": 1},
        {"id": 6, "image_id": 7, "category_id": 1, "bbox": [-5, -5, 15, 25]},
    ],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images" / "sub").mkdir(parents=True)
    for name in ("a.jpg", "sub/b.jpg"):
        (tmp_path / "images" / name).write_bytes(b"not opened by the reader")
    return tmp_path


def read(folder: Path, content: object = GOOD):
    (folder / "train.json").write_text(json.dumps(content))
    return read_coco(folder / "train.json", folder / "images")


def test_categories_become_classes_in_id_order(folder: Path) -> None:
    dataset = read(folder)
    assert dataset.class_names == ("person", "toothbrush")
    assert dataset.category_ids == (1, 90)
    assert dataset.examples[0].classes.tolist() == [1, 0]


def test_examples_keep_file_order_and_carry_the_contract_types(folder: Path) -> None:
    first, second = read(folder)
    assert (first.image_id, second.image_id, second.path.name) == (7, 3, "b.jpg")
    assert [a.dtype for a in (first.boxes, first.classes, first.crowd, first.area)] == ["f4", "i4", "?", "f4"]
    assert second.boxes.shape == (0, 4)
    assert second.classes.shape == second.crowd.shape == second.area.shape == (0,)


def test_boxes_turn_to_yxyx_and_are_clipped(folder: Path) -> None:
    example = read(folder).examples[0]
    assert example.boxes.tolist() == [[20, 10, 35, 40], [0, 0, 20, 10]]
    assert example.area.tolist() == [123.5, 200.0]
    assert example.crowd.tolist() == [True, False]
    assert example.trainable.tolist() == [False, True]


def test_boxes_without_area_are_dropped_with_one_counted_warning(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = copy.deepcopy(GOOD)
    for i, box in enumerate(([5, 5, 0, 9], [100, 5, 9, 9], [5, -9, 3, 9]), start=10):
        content["annotations"].append({"id": i, "image_id": 3, "category_id": 1, "bbox": box})
    with caplog.at_level(logging.WARNING):
        dataset = read(folder, content)
    assert len(dataset.examples[1].boxes) == 0
    assert [record.getMessage().split(": ")[1] for record in caplog.records] == [
        "dropped 3 boxes with no area inside their image"
    ]


def test_ground_truth_survives_the_way_back_to_coco(folder: Path) -> None:
    dataset = read(folder)
    back = read(folder, {**dataset.coco(), "images": GOOD["images"]})
    assert back.category_ids == dataset.category_ids
    for a, b in zip(dataset, back, strict=True):
        assert a.image_id == b.image_id
        for field in ("boxes", "classes", "crowd", "area"):
            np.testing.assert_array_equal(getattr(a, field), getattr(b, field))


POLYGONS = [[10, 20, 30, 20, 30, 35], [12.5, 22, 40, 22, 40, 34]]
RUNS = {"counts": [85, 20, 20, 15, 2260], "size": [40, 60]}


@pytest.mark.parametrize("segmentation", [POLYGONS, RUNS, {"counts": "e2d0d0KPV2", "size": [40, 60]}], ids=str)
def test_masks_are_read_and_survive_the_way_back(folder: Path, segmentation: object) -> None:
    content = copy.deepcopy(GOOD)
    content["annotations"][0]["segmentation"] = segmentation
    dataset = read(folder, content)
    expected = segmentation
    if isinstance(segmentation, list):
        expected = oracle.merge(oracle.frPyObjects(segmentation, 40, 60))
    elif isinstance(segmentation["counts"], list):
        expected = oracle.frPyObjects(segmentation, 40, 60)
    (mask, nothing), images_without_objects = dataset[0].masks, dataset[1].masks
    np.testing.assert_array_equal(mask.decode(), oracle.decode(expected))
    assert (nothing, images_without_objects) == (None, ())
    back = read(folder, {**dataset.coco(), "images": GOOD["images"]})
    assert back[0].masks[0].rle() == mask.rle()
    assert "segmentation" not in dataset.coco(masks=False)["annotations"][0]


@pytest.mark.parametrize("segmentation", [None, [], {}, [[1, 2, 3, 4]], {"counts": [4], "size": [2, 2]}, "x", 3])
def test_a_data_set_without_a_valid_mask_has_none(folder: Path, segmentation: object) -> None:
    content = copy.deepcopy(GOOD)
    content["annotations"][0]["segmentation"] = segmentation
    dataset = read(folder, content)
    assert [example.masks for example in dataset] == [None, None]
    assert not dataset.has_masks
    assert len(dataset[0].boxes) == 2


def _annotation(**changes: object):
    return lambda c: c["annotations"][1].update(changes)


def _image(**changes: object):
    return lambda c: c["images"][1].update(changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("images"), "no list named 'images'"),
        (lambda c: c.update(annotations={"5": {}}), "no list named 'annotations'"),
        (lambda c: c["images"].append("b.jpg"), "'images' has an entry that is not an object"),
        (lambda c: c.update(categories=[]), "'categories' is empty"),
        (lambda c: c["categories"][1].update(id=90), "category 90: the id is used twice"),
        (lambda c: c["categories"][1].update(name="toothbrush"), "category 1: names must be unique text"),
        (_image(id=7), "image 7: the id is used twice"),
        (_image(id="3a"), "image ids must be integers"),
        (_image(height=0), "image 3: sizes must be positive integers"),
        (_image(width=20.5), "image 3: sizes must be positive integers"),
        (_image(file_name="c.jpg"), "image 3: the image folder has no such file"),
        (_image(file_name="sub"), "image 3: the image folder has no such file"),
        (_image(file_name=None), "image 3: has no usable file name"),
        (_image(file_name="a\0.jpg"), "image 3: has no usable file name"),
        (_image(file_name="sub/../../train.json"), "image 3: the file name leads out"),
        (_image(file_name="/etc/passwd"), "image 3: the file name leads out"),
        (_image(file_name="C:\\b.jpg"), "image 3: the file name leads out"),
        (_annotation(id="none"), "annotation ids must be integers"),
        (_annotation(image_id=99), "annotation 6: unknown image_id"),
        (_annotation(image_id=[7]), "annotation 6: unknown image_id"),
        (_annotation(category_id=2), "annotation 6: unknown category_id"),
        (_annotation(bbox=[1, 2, 3]), "annotation 6: a box must be four finite numbers"),
        (_annotation(bbox=[1, 2, float("nan"), 4]), "annotation 6: a box must be four finite numbers"),
        (_annotation(bbox=[1, 2, float("inf"), 4]), "annotation 6: a box must be four finite numbers"),
        (_annotation(bbox=[1, 2, "3 px", 4]), "annotation 6: a box must be four finite numbers"),
        (_annotation(bbox=[1, 2, -3, 4]), "annotation 6: the box has a negative size"),
        (_annotation(area=-1), "annotation 6: the area must be"),
        (_annotation(iscrowd="no"), "annotation 6: iscrowd must be 0 or 1"),
    ],
)
def test_a_fault_is_told_in_one_line_with_the_file_and_the_id(folder: Path, change, message: str) -> None:
    content = copy.deepcopy(GOOD)
    change(content)
    with pytest.raises(DataError) as caught:
        read(folder, content)
    assert message in str(caught.value)
    assert str(folder / "train.json") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_symlink_out_of_the_folder_is_refused(folder: Path) -> None:
    (folder / "secret.jpg").write_bytes(b"")
    (folder / "images" / "a.jpg").unlink()
    (folder / "images" / "a.jpg").symlink_to(folder / "secret.jpg")
    with pytest.raises(DataError, match="image 7: the file name leads out"):
        read(folder)


def test_an_image_folder_that_is_itself_a_link_is_fine(folder: Path) -> None:
    (folder / "images").rename(folder / "elsewhere")
    (folder / "images").symlink_to(folder / "elsewhere", target_is_directory=True)
    assert len(read(folder)) == 2


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"{'a': 1}", b"[" * 100_000])
def test_what_is_not_json_is_refused(folder: Path, content: bytes) -> None:
    (folder / "train.json").write_bytes(content)
    with pytest.raises(DataError, match="not a JSON file"):
        read_coco(folder / "train.json", folder / "images")


def test_missing_file_and_missing_folder_are_named(folder: Path) -> None:
    with pytest.raises(DataError, match=r"none\.json: cannot be read"):
        read_coco(folder / "none.json", folder / "images")
    (folder / "train.json").write_text(json.dumps(GOOD))
    with pytest.raises(DataError, match="image folder does not exist"):
        read_coco(folder / "train.json", folder / "nowhere")
