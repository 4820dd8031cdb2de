"""Test reading Pascal VOC: its conventions, and what is rejected."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from spinenet_tf.data.bad_images import BadImages
from spinenet_tf.data.dataset import DataError, DetectionDataset, ImageError
from spinenet_tf.data.formats.annotations import to_dataset
from spinenet_tf.data.formats.voc import load_voc, read_voc
from spinenet_tf.data.problems import Place, Problem, Problems

OBJECT = "<object><name>cat</name><difficult>1</difficult>{}</object>"
BOX = "<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>"
FILE = (
    "<annotation><filename>{name}</filename><size><width>{width}</width><height>{height}</height></size>"
    "{objects}</annotation>"
)


@pytest.fixture
def write(voc_folder: Path, digits: DetectionDataset):
    """Return `write(objects, **changes)`, which replaces the annotations of the first image and returns their file."""
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
    with pytest.raises(DataError, match=r"val\.txt: line 3: this image has no annotations. Received: '2007_9'"):
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
        (OBJECT.format(BOX.format("x", 5, 3, 9)), {}, "object 0: bndbox/xmin must be a number"),
        (OBJECT.format(BOX.format("nan", 5, 3, 9)), {}, "object 0: a box must be four finite numbers"),
        (OBJECT.format(""), {}, "object 0: bndbox/xmin must be a number"),
        (OBJECT.format(BOX).replace("cat", ""), {}, "object 0: it has no name"),
        (OBJECT.format(BOX).replace(">1<", ">yes<"), {}, "object 0: difficult must be 0 or 1"),
        ("", {"width": -3}, "sizes must be positive integers"),
        ("", {"width": "1.5"}, "size/width must be an integer"),
        ("", {"height": "inf"}, "size/height must be an integer"),
        ("", {"name": "../Annotations/000001.xml"}, "the file name leads out"),
        ("", {"name": "C:\\photos\\none.jpg"}, "the file name leads out"),
        ("", {"name": ".."}, "the file name leads out"),
        ("<object>", {}, "not XML"),
    ],
)
def test_a_fault_is_named_with_file_and_object(voc_folder: Path, write, objects, changes, message: str) -> None:
    path = write(objects, **changes)
    with pytest.raises(DataError) as caught:
        read_voc(voc_folder)
    assert f"{path}: {message}" in str(caught.value)
    assert "\n" not in str(caught.value)


JPG = "000001.jpg"


@pytest.mark.parametrize(
    ("stored", "told"),
    [
        (JPG, "000001"),
        (JPG, "000001.JPG"),
        (JPG, "C:\\Users\\me\\photos\\000001.jpg"),
        (JPG, "photos\\000001.jpg"),
        (JPG, "/home/me/000001.jpg"),
        (JPG, "../JPEGImages/000001.jpg"),
        (JPG, "JPEGImages/000001.jpg"),
        (JPG, "DSC_77.jpg"),
        (JPG, ""),
        ("000001.PNG", "000001.png"),
        ("000001.JPEG", "DSC_77.jpg"),
        ("DSC.77.jpg", "DSC.77"),
    ],
)
def test_an_image_is_found_under_the_names_that_programs_write(
    voc_folder: Path, digits: DetectionDataset, write, stored: str, told: str
) -> None:
    images = voc_folder / "JPEGImages"
    (images / JPG).rename(images / stored)
    path = write(name=told)
    problems = Problems(keep_going=True)
    dataset = to_dataset(load_voc(voc_folder, problems=problems), problems)
    assert dataset.examples[0].path == (images / stored).resolve()
    assert len(dataset) == len(digits)
    message = f"the file name is not an image in its folder; {stored} is read. Received: filename={told!r}"
    assert problems.found == [Problem(Place(path), message, refused=False)]
    assert load_voc(voc_folder).images[0]["file_name"] == stored, "it can be written to another data set"


def test_the_name_as_written_goes_before_its_parts_and_the_files_own(voc_folder: Path, write) -> None:
    images = voc_folder / "JPEGImages"
    (images / "far").mkdir()
    for name in ("far/000002.jpg", "a.png"):
        (images / name).write_bytes((images / "000002.jpg").read_bytes())
    for told, expected in (("far/000002.jpg", "far/000002.jpg"), ("x/000002.jpg", "000002.jpg"), ("a.JPG", "a.png")):
        write(name=told)
        assert read_voc(voc_folder).examples[0].path == (images / expected).resolve()


@pytest.mark.parametrize("told", ["000001.png", "DSC_77.jpg"])
def test_a_name_that_could_mean_two_images_is_refused(voc_folder: Path, write, told: str) -> None:
    images = voc_folder / "JPEGImages"
    (images / JPG).rename(images / "000001.jpeg")
    (images / "000001.bmp").write_bytes(b"")
    write(name=told)
    with pytest.raises(DataError, match=r"000001\.xml: several images match: 000001\.bmp, 000001\.jpeg"):
        read_voc(voc_folder)


def test_a_renamed_image_that_is_not_there_is_an_image_that_training_can_do_without(voc_folder: Path, write) -> None:
    (voc_folder / "JPEGImages" / JPG).unlink()
    path = write(name="DSC_77.jpg")
    with pytest.raises(ImageError, match=r"000001\.xml: the image folder has no such file. Received: .*DSC_77"):
        read_voc(voc_folder)
    bad = BadImages(0.5)
    dataset = read_voc(voc_folder, problems=Problems(bad_images=bad))
    assert dataset.examples[0].image_id == 2
    assert list(bad.found) == [str(path)]


@pytest.mark.parametrize("size", ["", "<size></size>", "<size><width>0</width><height>0</height></size>"])
def test_a_size_that_is_not_told_is_that_of_the_image(
    voc_folder: Path, digits: DetectionDataset, write, size: str
) -> None:
    first = digits.examples[0]
    path = write(OBJECT.format(BOX.format(1, 1, first.width, first.height)))
    text = path.read_text()
    begin, end = text.index("<size>"), text.index("</size>") + len("</size>")
    path.write_text(text[:begin] + size + text[end:])
    problems = Problems(keep_going=True)
    example = to_dataset(load_voc(voc_folder, problems=problems), problems).examples[0]
    assert (example.height, example.width) == (first.height, first.width)
    assert example.boxes.tolist() == [[0, 0, first.height, first.width]]
    message = f"it has no image size, which is {first.height} x {first.width} (height x width)"
    assert problems.found == [Problem(Place(path), message, refused=False)]


def test_a_side_that_is_told_is_not_replaced(voc_folder: Path, write) -> None:
    """If it is wrong, the boxes are probably wrong, too; checking the images reports this."""
    write(width=0, height=999)
    assert read_voc(voc_folder).examples[0].height == 999


@pytest.mark.parametrize(("difficult", "crowd"), [("Unspecified", False), ("unspecified", False), ("", False)])
def test_what_is_not_said_to_be_difficult_is_not(voc_folder: Path, write, difficult: str, crowd: bool) -> None:
    path = write(OBJECT.format(BOX.format(2, 2, 9, 9)).replace(">1<", f">{difficult}<"))
    problems = Problems(keep_going=True)
    assert to_dataset(load_voc(voc_folder, problems=problems), problems).examples[0].crowd.tolist() == [crowd]
    assert [problem.place for problem in problems.found] == [Place(path, "object 0")] * bool(difficult)


def test_names_in_a_list_may_be_composed_otherwise_and_have_blanks(voc_folder: Path) -> None:
    told, images = voc_folder / "Annotations", voc_folder / "JPEGImages"
    names = {"000001": unicodedata.normalize("NFD", "Äpfel"), "000002": "my photo 2", "000003": "Äpfel 3"}
    for old, new in names.items():
        text = (told / f"{old}.xml").read_text().replace(f"{old}.jpg", f"{unicodedata.normalize('NFC', new)}.jpg")
        (told / f"{old}.xml").unlink()
        (told / f"{new}.xml").write_text(text)
        (images / f"{old}.jpg").rename(images / f"{new}.jpg")
    listing = voc_folder / "ImageSets" / "Main" / "val.txt"
    listing.write_text("Äpfel 1\nmy photo 2\nÄpfel 3 -1\n")
    found = [unicodedata.normalize("NFC", example.path.stem) for example in read_voc(voc_folder, "val")]
    assert sorted(found) == ["my photo 2", "Äpfel", "Äpfel 3"]


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
