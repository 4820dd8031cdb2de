"""The results of image files are written to a folder, all of them or none."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from spinenet_tf.data.dataset import DataError
from spinenet_tf.inference.folders import classify_files, detect_in_files, predict_files
from spinenet_tf.inference.predictor import Predictor


def predict(images: np.ndarray) -> dict[str, np.ndarray]:
    """Return the same two objects for every image, the second beyond its edge, and one row of padding."""
    found = {
        "boxes": np.float32([[8, 4, 16, 12], [20, 30, 90, 90], [0, 0, 0, 0]]),
        "scores": np.float32([0.9, 0.2, 0.0]),
        "classes": np.int32([1, 0, -1]),
        "num_detections": np.int32(2),
    }
    return {name: np.repeat(values[None], len(images), axis=0) for name, values in found.items()}


@pytest.fixture
def predictor() -> Predictor:
    return Predictor(predict, (64, 64), ("cat", "dog"), batch_size=2)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    sizes = {"a.png": (128, 96), "b.jpg": (64, 64), "c.png": (30, 64)}
    for name, size in sizes.items():
        Image.fromarray(np.full((*size, 3), 80, np.uint8)).save(tmp_path / name)
    return [tmp_path / name for name in sizes]


def test_pictures_and_all_detections_are_written(predictor, files, tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert detect_in_files(predictor, files, output, threshold=0.5) == output / "detections.json"
    pictures = ["a.png.png", "b.jpg.png", "c.png.png"]
    assert sorted(path.name for path in output.iterdir()) == [*pictures, "detections.json"]
    found = json.loads((output / "detections.json").read_text())
    assert list(found) == ["a.png", "b.jpg", "c.png"]
    assert found["a.png"] == {
        "size": [128, 96],
        "detections": [
            {"class": "dog", "score": 0.9, "box": [16.0, 8.0, 32.0, 24.0]},
            {"class": "cat", "score": 0.2, "box": [40.0, 60.0, 128.0, 96.0]},
        ],
    }


@pytest.mark.parametrize("cut", [0, -40], ids=["garbage", "truncated"])
def test_one_bad_image_leaves_nothing_behind(predictor, files, tmp_path: Path, cut: int) -> None:
    files[1].write_bytes(files[1].read_bytes()[:cut])
    with pytest.raises(DataError, match=r"b\.jpg: "):
        detect_in_files(predictor, files, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def coco(folder: Path, images: dict, categories: dict) -> Path:
    content = {
        "images": [{"id": id, "file_name": name, "height": 64, "width": 64} for id, name in images.items()],
        "categories": [{"id": id, "name": name} for id, name in categories.items()],
        "annotations": [],
    }
    (folder / "val.json").write_text(json.dumps(content))
    return folder / "val.json"


IMAGES = {4: "train/b.jpg", 9: "val\\a.png", 1: "c.png", 2: "other.png"}


def test_coco_results_have_the_ids_of_the_annotations_by_name(predictor, files, tmp_path: Path) -> None:
    annotations = coco(tmp_path, IMAGES, {18: "dog", 17: "cat", 90: "toothbrush"})
    (line,) = predict_files(predictor, files, tmp_path / "out", annotations=annotations)
    assert line == f"Wrote 3 pictures and coco_results.json to {tmp_path / 'out'}."
    rows = json.loads((tmp_path / "out" / "coco_results.json").read_text())
    assert [(row["image_id"], row["category_id"]) for row in rows] == [
        *((9, 18), (9, 17), (4, 18), (4, 17), (1, 18), (1, 17))
    ]
    assert rows[0]["bbox"] == [8.0, 16.0, 16.0, 16.0]
    with contextlib.redirect_stdout(io.StringIO()):
        read = COCO(str(annotations)).loadRes(str(tmp_path / "out" / "coco_results.json"))
    assert len(read.getAnnIds([9])) == 2


@pytest.mark.parametrize(
    ("images", "categories", "message"),
    [
        ({1: "a.png", 2: "b.jpg"}, {1: "cat", 2: "dog"}, r"val\.json has no image named 'c\.png'\.$"),
        (IMAGES | {7: "test/a.png"}, {1: "cat", 2: "dog"}, r"has 2 entries for image 'a\.png', with the ids 9, 7\.$"),
        (
            IMAGES,
            {1: "Cat", 2: "Dog"},
            r"none of the model's classes 'cat', 'dog'\. Its categories: 'Cat', 'Dog'\.$",
        ),
        (IMAGES, {1: "cat", 2: "dog", 3: "dog"}, r"has 2 entries for category 'dog', with the ids 2, 3\.$"),
        ({"x": "a.png", 2: "b.jpg", 3: "c.png"}, {1: "cat", 2: "dog"}, r"image ids must be integers.*'a\.png'"),
    ],
)
def test_unknown_and_ambiguous_names_are_refused_before_any_work(
    files, tmp_path: Path, images: dict, categories: dict, message: str
) -> None:
    predictor = Predictor(lambda images: pytest.fail("it ran"), (64, 64), ("cat", "dog"))
    with pytest.raises(DataError, match=message):
        predict_files(predictor, files, tmp_path / "out", annotations=coco(tmp_path, images, categories))
    assert not (tmp_path / "out").exists()


def test_detections_of_classes_without_a_category_are_left_out_and_counted(predictor, files, tmp_path: Path) -> None:
    annotations = coco(tmp_path, IMAGES, {17: "cat", 3: "car"})
    _, line = predict_files(predictor, files, tmp_path / "out", annotations=annotations)
    assert line == f"Left out the detections of classes that {annotations} does not have: dog (3)."
    rows = json.loads((tmp_path / "out" / "coco_results.json").read_text())
    assert [(row["image_id"], row["category_id"]) for row in rows] == [(9, 17), (4, 17), (1, 17)]


def test_a_classifier_writes_the_likeliest_classes(files, tmp_path: Path) -> None:
    logits, names = np.log(np.float32([[1, 5, 2, 1, 1, 1]])), tuple("abcdef")
    predictor = Predictor(lambda images: np.repeat(logits, len(images), 0), (32, 32), names, task="classification")
    lines = predict_files(predictor, files, tmp_path / "out")
    assert lines == [
        *(f"{file.name}: b (0.455)" for file in files),
        f"Wrote the classes of 3 images to {tmp_path / 'out' / 'classes.json'}.",
    ]
    found = json.loads((tmp_path / "out" / "classes.json").read_text())
    assert found == classify_files(predictor, files, tmp_path / "out")
    assert [row["class"] for row in found["a.png"]] == ["b", "c", "a", "d", "e"]
    with pytest.raises(ValueError, match="Only a detector has COCO results"):
        predict_files(predictor, files, tmp_path / "out", annotations=tmp_path / "val.json")
