"""Test the statistics of a data set check, and that every problem is listed with its file and id."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from spinenet_tf.data.checking import check
from spinenet_tf.data.dataset import ClassificationDataset, ClassificationExample, DataError, DetectionDataset
from spinenet_tf.data.formats.mask_images import MaskImage
from spinenet_tf.data.formats.tfrecord_writer import write_tfrecord
from spinenet_tf.data.reading import load, read

IMAGES = [{"id": i, "file_name": f"{i}.png", "height": 40, "width": 60} for i in (1, 4, 9)]
GOOD = {
    "images": IMAGES,
    "categories": [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}, {"id": 8, "name": "cow"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 3, "bbox": [10, 10, 20, 10], "area": 150},
        {"id": 2, "image_id": 1, "category_id": 7, "bbox": [0, 0, 60, 40], "area": 2400},
        {"id": 5, "image_id": 4, "category_id": 3, "bbox": [5, 5, 9, 9], "area": 81, "iscrowd": 1},
    ],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for entry in IMAGES:
        Image.fromarray(rng.integers(0, 255, (40, 60, 3), np.uint8)).save(tmp_path / "images" / entry["file_name"])
    return tmp_path


def look(folder: Path, content: Any = GOOD, **options: Any):
    (folder / "annotations.json").write_text(json.dumps(content))
    return check(str(folder), **options)


def test_statistics_count_what_is_there(folder: Path) -> None:
    findings = look(folder)
    assert findings.problems == ()
    anchors = findings.statistics.pop("anchors")
    assert findings.statistics == {
        "images": 3,
        "images_without_objects": 1,
        "image_height": {"min": 40.0, "median": 40.0, "max": 40.0},
        "image_width": {"min": 60.0, "median": 60.0, "max": 60.0},
        "boxes": 3,
        "crowds": 1,
        "boxes_per_image": {"min": 0.0, "median": 1.0, "max": 2.0},
        "box_height": {"min": 9.0, "median": 10.0, "max": 40.0},
        "box_width": {"min": 9.0, "median": 20.0, "max": 60.0},
        "box_sizes": {"small": 2, "medium": 1, "large": 0},
        "classes": {"cat": 2, "dog": 1, "cow": 0},
    }
    assert (anchors["model"], anchors["image_size"]) == ("spinenet_49", [640, 640])
    assert anchors["covered"] == 1.0


def test_coverage_depends_on_the_size_of_the_input(folder: Path) -> None:
    """The smallest anchor has a side of 24 px; at a third of its size, a box of 60 x 40 px cannot reach IoU 0.5."""
    covered = [look(folder, image_size=size).statistics["anchors"]["covered"] for size in ((128, 128), (12, 18))]
    assert covered == [1.0, 0.0]
    with pytest.raises(ValueError, match="Unknown model"):
        look(folder, model="resnet")


def masked(*segmentations: object) -> dict:
    """Return `GOOD` with segmentations of its first objects, whose boxes are [10, 10, 20, 10] and the whole image."""
    content = copy.deepcopy(GOOD)
    for entry, segmentation in zip(content["annotations"], segmentations, strict=False):
        entry["segmentation"] = segmentation
    return content


def test_sound_masks_are_counted(folder: Path) -> None:
    """Tools differ by a pixel in the sides of boxes, and polygons may exceed the image by rounding."""
    runs = {"counts": [246, 5, 2149], "size": [40, 60]}
    findings = look(folder, masked([[9, 9, 31, 9, 31, 21]], [[-0.9, 0, 60.9, 0, 30, 40.9]], runs))
    assert findings.problems == ()
    assert findings.statistics["masks"] == 3


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([[10, 10, 50, 10, 50, 20]], "the mask exceeds its box by 20 px"),
        ([[-50, 10, 20, 10, 20, 20]], "a polygon exceeds its image of 40 x 60 by 50 px"),
        ([[70, 10, 80, 10, 80, 20]], "the mask has no pixels inside its image"),
        ([[12, 12, 12, 12, 12, 12]], "the mask has no pixels inside its image"),
        ({"counts": [2400], "size": [40, 60]}, "the mask has no pixels inside its image"),
        (
            {"counts": [2400], "size": [60, 40]},
            r"its mask is left out: run lengths must be of the 40 x 60 image. .*\[60, 40\]",
        ),
        ({"counts": [2401], "size": [40, 60]}, "its mask is left out: run lengths must be positive and add up"),
        ({"counts": "`", "size": [40, 60]}, "its mask is left out: compressed run lengths are not valid"),
        ([[1, 2, 3, 4]], "its mask is left out: polygons must be lists of at least three points"),
        ([[1, 2, 3, 4, 500, 5]], "its mask is left out: a polygon lies farther outside of the 40 x 60 image"),
        ([[0, 0, 60, 40] * 900], "its mask is left out: the outline of the polygons is too long"),
    ],
)
def test_masks_that_contradict_their_image_or_box_are_noted(folder: Path, segmentation: object, message: str) -> None:
    findings = look(folder, masked(segmentation), decode=False)
    found = [problem for problem in findings.problems if re.search(message, problem.message)]
    assert [(problem.refused, bool(re.match("annotation 1|image 1", problem.place.entry))) for problem in found] == [
        (False, True)
    ]


def test_masks_in_files_are_decoded_unless_only_headers_are_read(folder: Path) -> None:
    look(folder)
    first, *others = read(folder)
    Image.new("L", (60, 40), 1).save(folder / "mask.png")
    masks = (None, MaskImage(40, 60, folder / "mask.png"))
    dataset = replace(read(folder), examples=(replace(first, masks=masks), *others))
    assert check(dataset).problems == ()
    (folder / "mask.png").write_bytes((folder / "mask.png").read_bytes()[:60])
    (problem,) = check(dataset).problems
    assert problem.refused
    assert re.search(r"the mask cannot be read: .*mask\.png: .* a mask in the box yxyx=\[0.0, 0.0, 40", problem.message)
    assert check(dataset, decode=False).problems == ()


def test_all_faults_are_listed_at_once_each_with_file_and_id(folder: Path) -> None:
    content = copy.deepcopy(GOOD)
    content["images"] += [
        {"id": 9, "file_name": "9.png", "height": 40, "width": 60},
        {"id": 10, "file_name": "none.png", "height": 40, "width": 60},
        {"id": 11, "file_name": "9.png", "height": 41, "width": 60},
        {"id": 12, "file_name": "9.png", "height": 0, "width": 60},
        {"id": "13th", "file_name": "9.png", "height": 40, "width": 60},
        {"id": 14, "file_name": "../annotations.json", "height": 40, "width": 60},
    ]
    content["categories"].append({"id": 20, "name": "cat"})
    boxes = {
        101: [float("nan"), 0, 1, 1],
        102: [1, 1, 0, 5],
        103: [-5, 1, 10, 10],
        104: [100, 1, 10, 10],
        105: [1, 1, -3, 2],
        106: [10, 10, 20, 10],  # as annotation 1
        107: [0, 0, 60.4, 40],  # rounding
        5: [0, 0, 1, 1],  # its id is that of another
    }
    add = content["annotations"].append
    for key, box in boxes.items():
        add({"id": key, "image_id": 1, "category_id": 3, "bbox": box})
    add({"id": 108, "image_id": 2, "category_id": 3, "bbox": [1, 1, 5, 5]})
    add({"id": 109, "image_id": 1, "category_id": 4, "bbox": [1, 1, 5, 5]})
    add({"id": 110, "image_id": 10, "category_id": 3, "bbox": [1, 1, 5, 5]})  # of the image that is missing: no news
    add({"id": 111, "image_id": 1, "category_id": 3, "bbox": [1, 1, 5, 5], "iscrowd": 2})
    add({"id": 112, "image_id": 1, "category_id": 3, "bbox": [1, 1, 5, 5], "area": -1})
    (folder / "images" / "4.png").write_bytes((folder / "images" / "4.png").read_bytes()[:-3000])
    findings = look(folder, content)

    file, pictures = folder / "annotations.json", (folder / "images").resolve()
    expected = [
        (file, "annotation at 10", "the id is used twice", False),
        (file, "category 20", "names must be unique text", True),
        (file, "image 9", "the id is used twice", True),
        (file, "image 10", "the image folder has no such file", True),
        (file, "image 12", "sizes must be positive integers", True),
        (file, "image at 7", "image ids must be integers", True),
        (file, "image 14", "the file name leads out", True),
        (file, "annotation 101", "a box must be four finite numbers", True),
        (file, "annotation 102", "the box has no area inside its image", False),
        (file, "annotation 103", "the box exceeds its image of 40 x 60 by 5 px", False),
        (file, "annotation 104", "the box has no area inside its image", False),
        (file, "annotation 105", "the box has a negative size", True),
        (file, "annotation 108", "unknown image_id", True),
        (file, "annotation 109", "unknown category_id", True),
        (file, "annotation 111", "iscrowd must be 0 or 1", True),
        (file, "annotation 112", "the area must be a finite number", True),
        (pictures / "4.png", "image 4", "the image cannot be decoded", True),
        (pictures / "9.png", "image 11", "the image is 40 x 60 pixels", True),
        (folder, "image 1", "a box of 'cat' occurs 2 times", False),
        (folder, "image 11", "image 9 has the same file", False),
    ]
    assert [(*p.place, p.refused) for p in findings.problems] == [(*place, refused) for *place, _, refused in expected]
    for problem, (_, _, message, _) in zip(findings.problems, expected, strict=True):
        assert problem.message.startswith(message)
    told = findings.to_dict()["problems"][1]
    assert told["file"] == str(file)
    assert (told["entry"], told["refused"]) == ("category 20", True)


def test_a_data_set_without_objects_is_refused_as_training_does(folder: Path) -> None:
    crowd = [GOOD["annotations"][2]]
    for objects, message in (
        ([], "there are no objects to train on"),
        (crowd, "there are no objects to train on"),
        ([GOOD["annotations"][0] | {"bbox": [0.1, 0.2, 0.3, 0.4]}], "all boxes lie within the first pixel"),
    ):
        findings = look(folder, GOOD | {"annotations": objects})
        assert [(*problem.place, problem.refused) for problem in findings.problems] == [(folder, "", True)]
        assert findings.problems[0].message.startswith(f"annotations: {message}")


def test_labels_that_are_not_found_are_told_with_where_they_were_looked_for(yolo_folder: Path) -> None:
    (yolo_folder / "labels").rename(yolo_folder / "annotations")
    findings = check(str(yolo_folder / "data.yaml"))
    messages = [problem.message for problem in findings.problems]
    assert messages[0].startswith(f"no image has a label file in {yolo_folder}/labels/train")
    assert messages[1:] == ["yolo-train: there are no objects to train on"]


def test_the_loss_of_most_boxes_is_a_problem_of_its_own(folder: Path) -> None:
    outside = [GOOD["annotations"][0] | {"id": 10 + k, "bbox": [70, 1, 10, 10]} for k in range(4)]
    findings = look(folder, GOOD | {"annotations": GOOD["annotations"] + outside})
    expected = "dropped 4 boxes with no area inside their image: 4 of 7, so they may be in another unit or image"
    assert findings.problems[4].message == expected
    assert findings.problems[4].place == (folder / "annotations.json", "")
    findings = look(folder, GOOD | {"annotations": GOOD["annotations"] + outside[:3]})
    assert len(findings.problems) == 3, "half is not most"


def test_headers_alone_do_not_show_a_truncated_image(folder: Path) -> None:
    path = folder / "images" / "4.png"
    Image.open(path).save(path, format="JPEG")  # of a PNG even the header is read to the end
    path.write_bytes(path.read_bytes()[:-300])
    assert look(folder, decode=False).problems == ()
    assert len(look(folder).problems) == 1


def test_faults_of_other_formats_are_listed_alike(
    tmp_path: Path, digits_folder: Path, yolo_folder: Path, voc_folder: Path
) -> None:
    labels = yolo_folder / "labels" / "train"
    (labels / "000001.txt").write_text("1 2 3\n1 0.5 0.5 0.2 0.2\n77 0.5 0.5 0.2 0.2\n")
    (labels / "extra.txt").write_text("")
    (yolo_folder / "images" / "train" / "000002.jpg").write_bytes(b"")
    found = {(*problem.place, problem.refused) for problem in check(str(yolo_folder)).problems}
    assert found == {
        (yolo_folder / "images" / "train" / "000002.jpg", "", True),
        (labels / "000001.txt", "line 1", True),
        (labels / "000001.txt", "line 3", True),
        (labels / "extra.txt", "", False),
    }

    told = voc_folder / "Annotations"
    (told / "000001.xml").write_text("<annotation>")
    text = (told / "000002.xml").read_text()
    (told / "000002.xml").write_text(text.replace("<xmin>", "<xmin>x", 1))
    (voc_folder / "JPEGImages" / "000003.jpg").unlink()
    found = {(*problem.place, problem.refused) for problem in check(str(voc_folder)).problems}
    assert found == {
        (told / "000001.xml", "", True),
        (told / "000002.xml", "object 0", True),
        (told / "000003.xml", "", True),
    }

    shard, *_ = write_tfrecord(load(str(digits_folder)), tmp_path / "train")
    content = shard.read_bytes()
    shard.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    findings = check(str(tmp_path / "train"))
    assert [(*problem.place, problem.refused) for problem in findings.problems] == [(shard, "record 11", True)]
    assert findings.statistics["images"] == 11


def test_a_clean_data_set_has_no_problems_in_any_format(
    tmp_path: Path, digits: DetectionDataset, digits_folder: Path, yolo_folder: Path, voc_folder: Path
) -> None:
    write_tfrecord(load(str(digits_folder)), tmp_path / "train")
    all_findings = [check(str(source)) for source in (digits_folder, yolo_folder, voc_folder, tmp_path / "train")]
    assert [findings.problems for findings in all_findings] == [()] * 4
    assert len({json.dumps(findings.statistics["classes"]) for findings in all_findings}) == 1
    boxes = sum(len(example.boxes) for example in digits)
    assert {findings.statistics["boxes"] for findings in all_findings} == {boxes}


def test_an_image_folder_is_counted_and_its_bad_images_are_named(folder: Path) -> None:
    for name in ("cat", "dog"):
        (folder / "classes" / name).mkdir(parents=True)
    (folder / "images" / "1.png").rename(folder / "classes" / "cat" / "1.png")
    (folder / "images" / "4.png").rename(folder / "classes" / "dog" / "4.png")
    (folder / "classes" / "dog" / "5.png").write_bytes(b"no image")
    findings = check(str(folder / "classes"))
    assert findings.statistics["classes"] == {"cat": 1, "dog": 2}
    assert findings.statistics["image_width"]["max"] == 60
    assert [problem.place.file for problem in findings.problems] == [folder / "classes" / "dog" / "5.png"]
    assert findings.problems[0].message.startswith("not a readable image")


def test_a_data_set_without_images_is_a_problem_and_what_is_none_an_error(folder: Path) -> None:
    findings = look(folder, GOOD | {"images": [], "annotations": []})
    assert [problem.message for problem in findings.problems] == ["the data set has no images"]
    assert findings.statistics["anchors"]["covered"] is None
    (folder / "annotations.json").write_text("{")
    with pytest.raises(DataError, match="not a JSON file"):
        check(str(folder))


def test_a_data_set_in_memory_is_checked_like_its_files(digits: DetectionDataset, digits_folder: Path) -> None:
    findings = check(digits)
    assert findings.to_dict() == check(digits_folder).to_dict()
    with pytest.raises(ValueError, match=r"neither images nor split\. Received: images=None, split='val'"):
        check(digits, split="val")
    limited = check(digits[:3], max_pixels=100)
    assert [problem.message.partition(" (")[0] for problem in limited.problems] == ["the image has too many pixels"] * 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"boxes": [[0, 0, 300, 10]]},
            r"boxes must be yxyx in pixels inside the \d+ x \d+ image. Received: \[0.0, 0.0,",
        ),
        ({"boxes": [[0, 0, np.nan, 10]]}, "boxes must be yxyx in pixels"),
        ({"boxes": [[9, 9, 5, 10]]}, "boxes must be yxyx in pixels"),
        ({"classes": [10]}, "classes must be 0 to 9. Received: 10"),
        ({"boxes": [[0, 0, 5]]}, r"boxes must be \[N, 4\]"),
        ({"crowd": [False, False]}, r"classes, crowd and area \[N\]. Received: \(1, 4\), 1, 2 and 1 rows"),
    ],
    ids=str,
)
def test_invalid_examples_made_in_python_are_listed(digits: DetectionDataset, change: dict, message: str) -> None:
    row = {"boxes": [[1, 2, 30, 40]], "classes": [3], "crowd": [False], "area": [9.0]} | change
    kinds = {"boxes": np.float32, "classes": np.int32, "crowd": np.bool_, "area": np.float32}
    odd = replace(digits[1], **{name: np.array(values, kinds[name]) for name, values in row.items()})
    findings = check(replace(digits, examples=(digits[0], odd)))
    (problem,) = findings.problems
    assert (problem.place.entry, problem.refused) == ("example 1", True)
    assert re.search(message, problem.message)
    assert findings.statistics["images"] == 1


def test_a_label_out_of_range_is_listed(folder: Path) -> None:
    paths = sorted((folder / "images").iterdir())
    examples = tuple(ClassificationExample(path, label) for path, label in zip(paths, (0, 1, 2), strict=True))
    (problem,) = check(ClassificationDataset("made", ("a", "b"), examples)).problems
    assert str(problem) == "refused: made: example 2: the label must be 0 to 1. Received: label=2"


def test_findings_print_statistics_and_problems(folder: Path) -> None:
    (folder / "images" / "4.png").write_bytes(b"")
    lines = str(look(folder)).splitlines()
    assert lines[0] == "annotations"
    assert "  images without objects: 1" in lines
    assert "  image height: min 40.0, median 40.0, max 40.0" in lines
    assert "  classes: cat 2, dog 1, cow 0" in lines
    file = (folder / "images").resolve() / "4.png"
    assert lines[-2].startswith(f"refused: {file}: image 4: not a readable image")
    assert lines[-1] == "1 problems, 1 of them refused by training."
