"""Test that YOLO data sets in the layouts of common export tools all read the same."""

from __future__ import annotations

import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spinenet_tf.data.checking import check
from spinenet_tf.data.dataset import DataError, DetectionDataset
from spinenet_tf.data.formats.annotations import to_dataset
from spinenet_tf.data.formats.coco import load_coco, write_coco
from spinenet_tf.data.formats.image_folder import read_image_folder
from spinenet_tf.data.formats.tfrecord import load_tfrecord
from spinenet_tf.data.formats.tfrecord_writer import write_tfrecord
from spinenet_tf.data.formats.yolo import read_yolo
from spinenet_tf.data.problems import Problems
from spinenet_tf.data.reading import format_of, load
from spinenet_tf.training.sources import YoloSource

NAMES = "names: [car, bus]\n"
TRAIN, VALID = ("a.jpg", "sub/b.jpg"), ("c.jpg",)
HEIGHT, WIDTH = 40, 80
BOXES = {  # yxyx px, and the class, of each image
    "a.jpg": ([10, 20, 30, 60], 1),
    "b.jpg": ([0, 0, 20, 40], 0),
    "c.jpg": ([20, 40, 40, 80], 1),
}


def _image(path: Path, labels: Path) -> None:
    for file in (path, labels):
        file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT)).save(path)
    (top, left, bottom, right), label = BOXES[path.name]
    sides = ((left + right) / 2 / WIDTH, (top + bottom) / 2 / HEIGHT, (right - left) / WIDTH, (bottom - top) / HEIGHT)
    labels.with_suffix(".txt").write_text(" ".join(map(str, (label, *sides))) + "\n")


def roboflow(root: Path, train: str = "../train/images", valid: str = "../valid/images") -> Path:
    """Write `train/images`, `train/labels` and so on in `root`, beside a data.yaml; return the data.yaml."""
    for part, images in (("train", TRAIN), ("valid", VALID)):
        for image in images:
            _image(root / part / "images" / image, root / part / "labels" / image)
    (root / "README.roboflow.txt").write_text("Exported.\n")
    (root / "data.yaml").write_text(f"train: {train}\nval: {valid}\ntest: # none\nnc: 2\n{NAMES}")
    return root / "data.yaml"


def cvat(root: Path, prefix: str = "data/", images: tuple[str, ...] = TRAIN) -> Path:
    """Write CVAT's YOLO 1.1 format, with lists, and labels beside the images; return obj.data."""
    for image in images:
        _image(root / "obj_train_data" / image, root / "obj_train_data" / image)
    (root / "obj.names").write_text("car\nbus\n")
    (root / "train.txt").write_text("".join(f"{prefix}obj_train_data/{image}\n" for image in images))
    (root / "obj.data").write_text(
        f"classes = 2\ntrain = {prefix}train.txt\nnames = {prefix}obj.names\nbackup = backup/\n"
    )
    return root / "obj.data"


def listed(root: Path, line: str = "./images/{}", listing: str = "train.txt", path: str = "path: .\n") -> Path:
    """Write images, labels, an image list, and a data.yaml that refers to the list; return the data.yaml."""
    for image in TRAIN:
        _image(root / "images" / image, root / "labels" / image)
    (root / listing).parent.mkdir(exist_ok=True)
    (root / listing).write_text("".join(line.format(image) + "\n" for image in TRAIN))
    (root / "data.yaml").write_text(f"{path}train: {listing}\n{NAMES}")
    return root / "data.yaml"


def flat(root: Path) -> Path:
    """Write label files beside the images, as labelImg does; return the folder."""
    for image in TRAIN:
        _image(root / image, root / image)
    (root / "classes.txt").write_text("car\nbus\n")
    (root / "README.txt").write_text("Labels by hand\n")
    return root


def expect(dataset: DetectionDataset, *names: str) -> None:
    assert [example.path.name for example in dataset] == [Path(name).name for name in names]
    assert dataset.class_names == ("car", "bus")
    for example in dataset:
        box, label = BOXES[example.path.name]
        np.testing.assert_allclose(example.boxes, [box], atol=1e-4)
        assert example.classes.tolist() == [label]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path.resolve() / "ds"


@pytest.mark.parametrize(
    ("train", "said"),
    [
        ("../train/images", True),
        ("train/images", False),
        ("./train/images", False),
        ("train", False),
        ("../ds/train/images", False),
    ],
)
def test_roboflow_names_folders_beside_its_own(root: Path, caplog, train: str, said: bool) -> None:
    described = roboflow(root, train)
    expect(read_yolo(described), *TRAIN)
    expect(read_yolo(described, "val"), *VALID)
    expect(read_yolo(described, "valid"), *VALID)
    told = [record.message for record in caplog.records if "'train'" in record.message]
    assert told == [f"{described}: 'train' is not at {root}/{train}; {root}/train/images is read"] * said
    with pytest.raises(DataError, match=r"data\.yaml: the key 'test' must be a folder"):
        read_yolo(described, "test")


def test_a_folder_as_it_is_written_goes_first_and_the_other_is_named(root: Path, caplog) -> None:
    described = roboflow(root)
    shutil.copytree(root / "valid", root.parent / "train")
    expect(read_yolo(described), *VALID)
    folders = root.parent / "train" / "images", root / "train" / "images"
    assert [record.message for record in caplog.records] == [
        f"{described}: 'train' is read from {folders[0]}, as written; there is also {folders[1]}"
    ]


@pytest.mark.parametrize("path", ["../datasets/ds", "/content/ds", "~nobody-of-that-name/ds", "../ds", "."])
def test_a_path_of_another_machine_is_left_out(root: Path, caplog, path: str) -> None:
    described = roboflow(root, "train/images", "valid/images")
    described.write_text(f"path: {path}\n{described.read_text()}")
    expect(read_yolo(described), *TRAIN)
    assert len(caplog.records) == (path not in (".", "../ds"))


def test_a_check_lists_which_folder_is_read(root: Path, caplog) -> None:
    problems = Problems(keep_going=True)
    to_dataset(load(str(roboflow(root)), problems=problems), problems)
    assert [problem.place.file for problem in problems.found] == [root / "data.yaml"]
    assert str(root / "train" / "images") in problems.found[0].message
    assert not caplog.records


def test_a_folder_that_is_nowhere_is_named_as_it_is_written(root: Path) -> None:
    described = roboflow(root, "../elsewhere/images")
    with pytest.raises(
        DataError, match=r"'train' is neither a folder nor a list of images.*Received: '\.\./elsewhere/images'"
    ):
        read_yolo(described)


@pytest.mark.parametrize("prefix", ["data/", "", "./", "data\\"])
def test_cvat_lists_images_with_labels_beside_them(root: Path, prefix: str) -> None:
    described = cvat(root, prefix)
    expect(read_yolo(described), *TRAIN)
    expect(read_yolo(root), *TRAIN)
    assert format_of(str(root)) == format_of(str(described)) == "yolo"
    with pytest.raises(DataError, match=r"obj\.data: .*'val'"):
        read_yolo(described, "val")
    (root / "obj.data").write_text((root / "obj.data").read_text() + f"valid = {prefix}train.txt\n")
    expect(read_yolo(described, "val"), *TRAIN)


@pytest.mark.parametrize(
    ("line", "listing"),
    [
        ("./images/{}", "train.txt"),
        ("images/{}", "train.txt"),
        ("images\\{}", "train.txt"),
        ("{root}/images/{}", "train.txt"),
        ("images/{}", "lists/train.txt"),
        ("../images/{}", "lists/train.txt"),
        ("{}", "images/train.txt"),
    ],
)
def test_a_list_names_images(root: Path, line: str, listing: str) -> None:
    expect(read_yolo(listed(root, line.replace("{root}", str(root)), listing)), *TRAIN)


def test_a_list_takes_blanks_marks_and_other_normalizations(root: Path) -> None:
    described = listed(root)
    name = unicodedata.normalize("NFD", "Übung.jpg")
    BOXES[unicodedata.normalize("NFC", name)] = BOXES[name] = BOXES["a.jpg"]
    _image(root / "images" / name, root / "labels" / name)
    text = f"./images/a.jpg \r\n\r\n./images/{unicodedata.normalize('NFC', name)}\r\n\r\n"
    (root / "train.txt").write_text(text, encoding="utf-8-sig", newline="")
    expect(read_yolo(described), "a.jpg", name)


def test_an_image_that_a_list_names_in_vain_is_told_with_its_line(root: Path) -> None:
    described = listed(root)
    (root / "images" / "sub" / "b.jpg").unlink()
    with pytest.raises(DataError, match=r"train\.txt: line 2: .*no such file.*'\./images/sub/b\.jpg'"):
        read_yolo(described)


def test_labels_may_lie_beside_their_images(root: Path) -> None:
    expect(read_yolo(flat(root)), *TRAIN)
    assert format_of(str(root)) == "yolo"
    (root / "data.yaml").write_text(f"train: .\n{NAMES}")
    expect(read_yolo(root / "data.yaml"), *TRAIN)
    (root / "d.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    problems = Problems(keep_going=True)
    load(str(root), problems=problems)
    assert [problem.place.file for problem in problems.found] == [root / "d.txt"], "neither README.txt nor classes.txt"


def test_labels_in_their_own_folder_go_before_those_beside(root: Path) -> None:
    described = listed(root)
    (root / "images" / "a.txt").write_text("0 0.1 0.1 0.1 0.1\n")
    expect(read_yolo(described), *TRAIN)


def test_a_split_of_a_folder_is_the_folder_of_that_name(root: Path) -> None:
    """Ignoring the split would make training and validation use the same images."""
    for part, images in (("train", TRAIN), ("val", VALID)):
        for image in images:
            _image(root / "images" / part / image, root / "labels" / part / image)
    (root / "classes.txt").write_text("car\nbus\n")
    expect(read_yolo(root), *TRAIN, *VALID)
    expect(to_dataset(load(str(root), split="valid")), *VALID)
    expect(YoloSource(yolo=root).read("train"), *TRAIN)
    expect(YoloSource(yolo=root).read("val"), *VALID)
    with pytest.raises(DataError, match=r"ds: .*images/test.*Received: split='test'"):
        read_yolo(root, "test")
    shutil.rmtree(root / "images" / "val")
    with pytest.raises(DataError, match=r"Received: split='val'"):
        YoloSource(yolo=root).read("val")


def test_the_name_tells_which_split_was_read(root: Path) -> None:
    described = roboflow(root)
    assert [read_yolo(path).name for path in (root, described)] == ["ds-train", "ds-train"]
    assert [read_yolo(path, "val").name for path in (root, described)] == ["ds-val", "ds-val"]
    described.unlink()
    (root / "classes.txt").write_text("car\nbus\n")
    assert [read_yolo(root, split).name for split in (None, "valid")] == ["ds", "ds-valid"]


def test_a_folder_without_splits_is_read_whole_by_a_config(root: Path) -> None:
    listed(root)
    (root / "data.yaml").rename(root / "other.yaml")
    (root / "classes.txt").write_text("car\nbus\n")
    expect(YoloSource(yolo=root).read("val"), *TRAIN)


def test_names_are_what_was_typed(root: Path) -> None:
    described = roboflow(root, "train/images", "valid/images")
    described.write_text("train: train/images\nnames: [yes, 007]\n")
    assert read_yolo(described).class_names == ("yes", "007")
    described.write_text("train: train/images\nnames:\n  0: 2024-01-15\n  1: 'null'\n")
    assert read_yolo(described).class_names == ("2024-01-15", "null")


@pytest.mark.parametrize("export", [roboflow, cvat, listed, flat])
def test_exports_are_converted_in_both_directions(root: Path, tmp_path: Path, export) -> None:
    """File names are relative to the deepest common folder of all images."""
    source = export(root)
    write_tfrecord(load(str(source)), tmp_path / "records")
    write_coco(load_tfrecord(tmp_path / "records"), tmp_path / "coco")
    back = load_coco(tmp_path / "coco" / "annotations.json", tmp_path / "coco" / "images")
    assert [entry["file_name"] for entry in back.images] == list(TRAIN)
    expect(to_dataset(back), *TRAIN)
    write_coco(load(str(source)), tmp_path / "direct")
    assert (tmp_path / "direct" / "annotations.json").read_text() == (
        tmp_path / "coco" / "annotations.json"
    ).read_text()


def test_folders_of_several_trees_are_named_below_what_they_share(root: Path, tmp_path: Path) -> None:
    described = roboflow(root)
    described.write_text(f"train: [train/images, ../ds/valid/images]\n{NAMES}")
    names = [entry["file_name"] for entry in load(str(described)).images]
    assert names == ["train/images/a.jpg", "train/images/sub/b.jpg", "valid/images/c.jpg"]


@pytest.mark.parametrize("labels", ["anno/a.xml", "images/a.json", "images/a.xml", "../a.txt"])
def test_detection_images_are_not_taken_for_classes_without_a_hint(root: Path, caplog, labels: str) -> None:
    _image(root / "images" / "a.jpg", root / "images" / "a.jpg")
    (root / labels).parent.mkdir(exist_ok=True)
    (root / "images" / "a.txt").rename(root / labels)
    try:
        findings = check(str(root))
        message = "; ".join(problem.message for problem in findings.problems)
    except DataError as error:  # a class without images
        message = str(error)
    for wanted in ("annotations.json", "data.yaml", "labels", "Pascal VOC", "TFRecord"):
        assert wanted in message
    assert not caplog.records
    with pytest.raises(DataError, match=r"has no boxes.*data\.yaml"):
        load(str(root))


def test_class_folders_with_files_of_labels_are_read_with_a_warning(root: Path, caplog) -> None:
    for name in ("cat", "dog"):
        _image(root / name / "a.jpg", root / name / "a.jpg")
        (root / name / "a.txt").write_text("A caption\n")
    assert read_image_folder(root).class_names == ("cat", "dog")
    assert "cat/a.txt" in caplog.records[0].message
    for name in ("cat", "dog"):
        (root / name / "a.txt").rename(root / name / "notes.txt")
    caplog.clear()
    assert check(str(root)).problems == ()
    assert not caplog.records
