"""Test reading YOLO labels: the layouts, and what is rejected."""

from __future__ import annotations

import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from spinenet_tf.data.dataset import DataError
from spinenet_tf.data.formats.yolo import load_yolo, read_yolo
from spinenet_tf.data.formats.yolo_labels import label_file
from spinenet_tf.data.problems import Problems


def _labels(folder: Path) -> Path:
    return folder / "labels" / "train" / "000001.txt"


def test_a_data_yaml_names_the_folders_of_a_split(yolo_folder: Path) -> None:
    ours, theirs = read_yolo(yolo_folder / "data.yaml", "val"), read_yolo(yolo_folder)
    assert len(ours) == len(theirs)
    assert ours.class_names == theirs.class_names
    assert ours.name == "yolo-val"
    with pytest.raises(DataError, match=r"data\.yaml: the key 'test' must be a folder"):
        read_yolo(yolo_folder / "data.yaml", "test")


def test_names_may_be_a_map_a_file_or_missing(yolo_folder: Path) -> None:
    names = read_yolo(yolo_folder).class_names
    described = yolo_folder / "data.yaml"
    described.write_text(
        "train: images/train\nnames: {0: zero, 9: nine, 1: a, 2: b, 3: c, 4: d, 5: e, 6: f, 7: g, 8: h}"
    )
    assert read_yolo(described).class_names == ("zero", *"abcdefgh", "nine")
    described.unlink()
    assert read_yolo(yolo_folder).class_names == names  # the numbers, which are the digits' names
    (yolo_folder / "classes.txt").write_text("\n".join("abcdefghij") + "\n")
    assert read_yolo(yolo_folder).class_names == tuple("abcdefghij")


@pytest.mark.parametrize("place", ["classes.txt", "labels/classes.txt"])
def test_names_and_labels_are_text_as_editors_on_windows_save_it(yolo_folder: Path, place: str) -> None:
    plain = read_yolo(yolo_folder)
    (yolo_folder / "data.yaml").unlink()
    names = "".join(f"{name} \t\r\n" for name in "abcdefghij") + "\r\n  \r\n"
    (yolo_folder / place).write_text(names, encoding="utf-8-sig", newline="")
    labels = _labels(yolo_folder).read_text().replace("\n", " \r\n") + "\r\n"
    _labels(yolo_folder).write_text(labels, encoding="utf-8-sig", newline="")
    dataset = read_yolo(yolo_folder)
    assert dataset.class_names == tuple("abcdefghij")
    for ours, theirs in zip(dataset, plain, strict=True):
        np.testing.assert_array_equal(ours.boxes, theirs.boxes)
        np.testing.assert_array_equal(ours.classes, theirs.classes)


def test_an_image_without_labels_has_no_objects_and_a_polygon_its_bounding_box(yolo_folder: Path) -> None:
    _labels(yolo_folder).unlink()
    (yolo_folder / "labels" / "train" / "000002.txt").write_text("3 0.5 0.25 0.75 0.5 0.25 1 0.3 0.4\n\n")
    first, second, *_ = read_yolo(yolo_folder)
    assert first.boxes.shape == (0, 4)
    height, width = second.height, second.width
    np.testing.assert_allclose(second.boxes, [[0.25 * height, 0.25 * width, height, 0.75 * width]])
    assert second.classes.tolist() == [3]


def _with_rows(folder: Path, *rows: str, described: str = "") -> list[list[float]]:
    """Write one row as the labels of each of the first images; return the boxes read, relative to the image."""
    for number, row in enumerate(rows, start=1):
        (folder / "labels" / "train" / f"{number:06d}.txt").write_text(row + "\n")
    path = folder / "data.yaml"
    if described:
        path.write_text(path.read_text() + described)
    examples = read_yolo(folder / "data.yaml").examples[: len(rows)]
    scales = [(example.height, example.width) * 2 for example in examples]
    return [(example.boxes[0] / scale).round(5).tolist() for example, scale in zip(examples, scales, strict=True)]


BOX, BOX_YXYX = "0.5 0.4 0.2 0.6", [0.1, 0.4, 0.7, 0.6]


@pytest.mark.parametrize(("points", "dimensions"), [(3, 3), (4, 3), (17, 3), (2, 2), (1, 2), (1, 3)])
def test_of_pose_labels_the_box_is_taken(yolo_folder: Path, points: int, dimensions: int) -> None:
    """With keypoints, a row may have as many numbers as a polygon, or an odd number."""
    keypoints = " ".join(["0.45", "0.3", "2"][:dimensions] * points)
    rows = (f"1 {BOX} {keypoints}", f"1 {BOX} {keypoints} 0.9", f"1 {BOX} {keypoints} 0.9 12", f"1 {BOX}")
    boxes = _with_rows(yolo_folder, *rows, described=f"kpt_shape: [{points}, {dimensions}]\n")
    assert boxes == [BOX_YXYX] * 4


def test_other_rows_are_refused_beside_pose_labels(yolo_folder: Path) -> None:
    with pytest.raises(
        DataError, match=r"000001\.txt: line 1: .*kpt_shape \[2, 2\].*Received: '1 0.5 0.4 0.2 0.6 0.1 0.1'"
    ):
        _with_rows(yolo_folder, f"1 {BOX} 0.1 0.1", described="kpt_shape: [2, 2]\n")


@pytest.mark.parametrize("shape", ["17", "[17]", "[0, 3]", "[17, 4]", "[a, 3]", "{a: 1}", "[1.5, 3]", "[-1, 2]"])
def test_a_shape_of_keypoints_that_is_none_is_refused(yolo_folder: Path, shape: str) -> None:
    with pytest.raises(DataError, match=r"data\.yaml: 'kpt_shape' must be \[points, 2 or 3\]"):
        _with_rows(yolo_folder, f"1 {BOX}", described=f"kpt_shape: {shape}\n")


def test_a_confidence_and_the_number_of_a_track_are_no_points(yolo_folder: Path) -> None:
    """Detectors with a tracker write these: one track id above 1 determines the meaning of all rows of six."""
    assert _with_rows(yolo_folder, f"1 {BOX} 0.93") == [BOX_YXYX]
    rows = (f"1 {BOX} 0.93 1", f"1 {BOX} 0.5 7", f"1 {BOX} 0.25", f"1 {BOX}")
    assert _with_rows(yolo_folder, *rows) == [BOX_YXYX] * 4


def test_three_points_are_a_polygon_among_polygons(yolo_folder: Path) -> None:
    rows = ("3 0.5 0.25 0.75 0.5 0.25 1", "3 0.1 0.1 0.3 0.1 0.3 0.5 0.1 0.5")
    assert _with_rows(yolo_folder, *rows) == [[0.25, 0.25, 1, 0.75], [0.1, 0.1, 0.5, 0.3]]


def test_six_numbers_that_nothing_explains_are_refused_once_with_both_readings(yolo_folder: Path) -> None:
    rows = ("3 0.5 0.25 0.75 0.5 0.25 1", "3 0.5 0.4 0.2 0.6 0.9 1")
    with pytest.raises(DataError, match=r"000001\.txt: line 1: .*a polygon of three points, or a box with confidence"):
        _with_rows(yolo_folder, *rows)
    load_yolo(yolo_folder, problems=(problems := Problems(keep_going=True)))
    assert [(*problem.place, problem.refused) for problem in problems.found] == [(_labels(yolo_folder), "line 1", True)]
    assert "2 lines" in problems.found[0].message


def test_labels_lie_where_images_becomes_labels() -> None:
    assert label_file(Path("/images/x/images/train/a.b.jpg")) == Path("/images/x/labels/train/a.b.txt")
    assert label_file(Path("images/images.png")) == Path("labels/images.txt")
    assert label_file(Path("/data/train/a.jpg")) == Path("/data/train/a.txt"), "beside it, where no folder is so named"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 0.5 0.5 0.1", "line 1: a line must be a class, x, y, width and height"),
        ("cat 0.5 0.5 0.1 0.1", "line 1: a line must consist of numbers"),
        ("1.5 0.5 0.5 0.1 0.1", "line 1: a line must be a class"),
        ("nan 0.5 0.5 0.1 0.1", "line 1: a line must be a class"),
        ("-1 0.5 0.5 0.1 0.1", "line 1: a line must be a class"),
        ("10 0.5 0.5 0.1 0.1", "line 1: the class is not one of the 10. Received: 10"),
        ("1 0.5 nan 0.1 0.1", "line 1: a box must be four finite numbers"),
        ("1 0.1 0.1 0.3 0.1 0.3 nan 0.1 0.5", "line 1: a polygon must be finite numbers"),
        ("1 0.5 0.5 -0.1 0.1", "line 1: the box has a negative size"),
        ("\udcff", "not a text file"),
    ],
)
def test_a_fault_is_named_with_file_and_line(yolo_folder: Path, line: str, message: str) -> None:
    _labels(yolo_folder).write_bytes(line.encode(errors="surrogateescape"))
    with pytest.raises(DataError) as caught:
        read_yolo(yolo_folder)
    assert f"{_labels(yolo_folder)}: {message}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_image_that_is_none_is_named_once(yolo_folder: Path) -> None:
    image = yolo_folder / "images" / "train" / "000003.jpg"
    image.write_bytes(b"no image")
    with pytest.raises(DataError) as caught:
        read_yolo(yolo_folder)
    assert str(caught.value).startswith(f"{image}: not a readable image")


def test_labels_without_an_image_are_noted(yolo_folder: Path) -> None:
    (yolo_folder / "images" / "train" / "000001.jpg").unlink()
    (yolo_folder / "labels" / "classes.txt").write_text("\n".join("abcdefghij"))
    problems = Problems(keep_going=True)
    load_yolo(yolo_folder, problems=problems)
    assert [(problem.place.file, problem.refused) for problem in problems.found] == [(_labels(yolo_folder), False)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "has no keys"),
        ("a: [", "not YAML"),
        ("train: nowhere\nnames: [a]", "'train' is neither a folder nor a list of images"),
        ("train: images/train", "'names' must be a list"),
        ("train: images/train\nnames: {a: 1}", "'names' must be a list"),
    ],
)
def test_a_data_yaml_at_fault_is_named(yolo_folder: Path, text: str, message: str) -> None:
    (yolo_folder / "data.yaml").write_text(text)
    with pytest.raises(DataError, match=message):
        read_yolo(yolo_folder / "data.yaml")


def test_a_folder_without_images_or_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has the folders images and labels"):
        read_yolo(tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    with pytest.raises(DataError, match="there are no images"):
        read_yolo(tmp_path)


@pytest.mark.parametrize(
    ("row", "like"),
    [
        ("1 64 48 20 30", "pixels"),
        ("1 45.5 30 3.5 1.25", "percent"),
        ("1 10 10 30 10 30 50 10 50", "pixels"),
        (f"1 {BOX} 0.4 0.4 2 0.5 0.5 1", "kpt_shape"),
        ("1 64 48 20 30 0.9 17", "pixels"),
        ("1 0.5 0.5 -30 0.5", "pixels"),
    ],
)
def test_numbers_far_from_shares_of_the_image_are_refused_with_a_hint(yolo_folder: Path, row: str, like: str) -> None:
    """These boxes would lie outside their images and all be dropped, so training would learn nothing."""
    with pytest.raises(DataError, match=rf"000001\.txt: line 1: .*{like}.*Received: "):
        _with_rows(yolo_folder, row)


def test_boxes_that_reach_out_a_little_are_cut(yolo_folder: Path) -> None:
    assert _with_rows(yolo_folder, "1 0.5 0.9 1.2 1.0") == [[0.4, 0.0, 1.0, 1.0]]


def test_labels_in_another_folder_are_told_with_where_they_were_looked_for(yolo_folder: Path, caplog) -> None:
    (yolo_folder / "labels").rename(yolo_folder / "annotations")
    images = yolo_folder / "images" / "train"
    expected = f"no image has a label file in {yolo_folder}/labels/train or {images}"
    assert not any(len(example.boxes) for example in read_yolo(yolo_folder / "data.yaml"))
    assert [record.message for record in caplog.records] == [f"{images}: {expected}"]
    load_yolo(yolo_folder / "data.yaml", problems=(problems := Problems(keep_going=True)))
    assert [(*problem.place, problem.message) for problem in problems.found] == [(images, "", expected)]


def test_every_folder_of_images_is_looked_at(yolo_folder: Path, caplog) -> None:
    shutil.copytree(yolo_folder / "images" / "train", yolo_folder / "images" / "more")
    path = yolo_folder / "data.yaml"
    path.write_text(path.read_text().replace("train: images/train", "train: [images/train, images/more]"))
    read_yolo(path)
    assert [record.message.split(":")[0] for record in caplog.records] == [str(yolo_folder / "images" / "more")]


@pytest.mark.parametrize(("image", "labels"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_labels_are_found_in_any_unicode_normalization(yolo_folder: Path, image: str, labels: str) -> None:
    """Archives made on macOS have decomposed names; an image whose labels are not found would have no objects."""
    name = "Bücher/größe é"
    expected = read_yolo(yolo_folder).examples[0].boxes
    for kind, spelling, suffix in (("images", image, ".jpg"), ("labels", labels, ".txt")):
        file = yolo_folder / kind / "train" / unicodedata.normalize(spelling, name + suffix)
        file.parent.mkdir()
        (yolo_folder / kind / "train" / f"000001{suffix}").rename(file)
    problems = Problems(keep_going=True)
    found = {Path(str(e["_file"])).stem: e["id"] for e in load_yolo(yolo_folder, problems=problems).images}
    assert problems.found == []
    moved = found[unicodedata.normalize(image, "größe é")]
    (example,) = (example for example in read_yolo(yolo_folder) if example.image_id == moved)
    np.testing.assert_array_equal(example.boxes, expected)


def test_labels_in_another_normalization_lead_out_by_no_link(yolo_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("0 0.5 0.5 0.5 0.5")
    images, labels = yolo_folder / "images" / "train", yolo_folder / "labels" / "train"
    (images / "000001.jpg").rename(images / unicodedata.normalize("NFC", "é.jpg"))
    (labels / unicodedata.normalize("NFD", "é.txt")).symlink_to(tmp_path / "secret.txt")
    with pytest.raises(DataError, match="leads out of the"):
        read_yolo(yolo_folder)
