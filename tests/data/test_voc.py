"""Reading Pascal VOC: its conventions, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from spinenet_tf.data.dataset import DataError, DetectionDataset
from spinenet_tf.data.voc import read_voc

OBJECT = "<object><name>cat</name><difficult>1</difficult>{}</object>"
BOX = "<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>"
FILE = (
    "<annotation><filename>{name}</filename><size><width>{width}</width><height>{height}</height></size>"
    "{objects}</annotation>"
)


@pytest.fixture
def write(voc_folder: Path, digits: DetectionDataset):
    """Return `write(objects, **changes)`: replace the annotations of the first image; return their file."""
    first = digits.examples[0]
    known = {"name": first.path.name, "width": first.width, "height": first.height}

    def write(objects: str = "", **changes: object) -> Path:
        path = voc_folder / "Annotations" / "000001.xml"
        path.write_text(FILE.format(objects=objects, **known | changes))
        return path

    return write


def test_corners_count_from_one_and_lie_inside(voc_folder: Path, digits: DetectionDataset, write) -> None:
    height, width = digits.examples[0].height, digits.examples[0].width
    write(OBJECT.format(BOX.format(1, 1, width, height)) + OBJECT.format(BOX.format(5, 7, 5, 7)))
    example = read_voc(voc_folder).examples[0]
    assert example.boxes.tolist() == [[0, 0, height, width], [6, 4, 7, 5]]


def test_what_is_difficult_is_neither_trained_on_nor_missed(voc_folder: Path, write) -> None:
    write(
        OBJECT.format(BOX.format(1, 1, 9, 9))
        + OBJECT.format(BOX.format(1, 1, 9, 9)).replace("<difficult>1", "<difficult>0")
    )
    example = read_voc(voc_folder).examples[0]
    assert example.crowd.tolist() == [True, False]
    assert example.trainable.tolist() == [False, True]


def test_splits_agree_on_classes_and_ids(voc_folder: Path, digits: DetectionDataset) -> None:
    (voc_folder / "ImageSets" / "Main" / "val.txt").write_text("000003 1\n000005 -1\n")
    dataset = read_voc(voc_folder, "val")
    assert dataset.class_names == digits.class_names
    assert [example.image_id for example in dataset] == [3, 5]
    assert [example.path.name for example in dataset] == ["000003.jpg", "000005.jpg"]
    (voc_folder / "ImageSets" / "Main" / "val.txt").write_text("000003\n\n2007_9\n")
    with pytest.raises(
        DataError, match=r"val\.txt: line 3: there are no annotations of this image. Received: '2007_9'"
    ):
        read_voc(voc_folder, "val")
    with pytest.raises(DataError, match=r"test\.txt: there is no such list"):
        read_voc(voc_folder, "test")


def test_a_list_is_text_as_editors_on_windows_save_it(voc_folder: Path) -> None:
    (voc_folder / "ImageSets" / "Main" / "val.txt").write_bytes(b"\xef\xbb\xbf000003 \t\r\n000005\r\n\r\n \r\n")
    assert [example.image_id for example in read_voc(voc_folder, "val")] == [3, 5]


def test_annotations_may_lie_beside_their_images(voc_folder: Path, digits: DetectionDataset) -> None:
    for path in (voc_folder / "JPEGImages").iterdir():
        path.rename(voc_folder / "Annotations" / path.name)
    assert len(read_voc(voc_folder / "Annotations")) == len(digits)


@pytest.mark.parametrize(
    ("objects", "changes", "message"),
    [
        (OBJECT.format(BOX.format(5, 5, 3, 9)), {}, "object 0: the box has a negative size"),
        (OBJECT.format(BOX.format("x", 5, 3, 9)), {}, "object 0: bndbox/xmin is a number"),
        (OBJECT.format(BOX.format("nan", 5, 3, 9)), {}, "object 0: a box is four finite numbers"),
        (OBJECT.format(""), {}, "object 0: bndbox/xmin is a number"),
        (OBJECT.format(BOX).replace("cat", ""), {}, "object 0: it has no name"),
        (OBJECT.format(BOX).replace(">1<", ">yes<"), {}, "object 0: difficult is 0 or 1"),
        ("", {"width": 0}, "sizes must be positive integers"),
        ("", {"width": "1.5"}, "size/width is an integer"),
        ("", {"height": "inf"}, "size/height is an integer"),
        ("", {"name": "none.jpg"}, "the image folder has no such file"),
        ("", {"name": "../Annotations/000001.xml"}, "the file name leads out"),
        ("", {"name": ""}, "has no usable file name"),
        ("<object>", {}, "not XML"),
    ],
)
def test_a_fault_is_named_with_file_and_object(voc_folder: Path, write, objects, changes, message: str) -> None:
    path = write(objects, **changes)
    with pytest.raises(DataError) as caught:
        read_voc(voc_folder)
    assert f"{path}: {message}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_are_refused_in_any_encoding(voc_folder: Path, write, encoding: str) -> None:
    text = f"<?xml version='1.0' encoding='{encoding}'?><!DOCTYPE a [<!ENTITY b 'bb'>]><annotation>&b;</annotation>"
    path = write()
    path.write_bytes(text.encode(encoding))
    with pytest.raises(DataError, match="it declares a document type"):
        read_voc(voc_folder)


def test_a_folder_without_annotations_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there are no XML files"):
        read_voc(tmp_path)
