"""One interface to a trained detector from disk in any format."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spinenet_tf.data.dataset import DataError
from spinenet_tf.inference.predictor import Predictor, detect_in_files, image_files, load_predictor, passed_over


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
    return Predictor(predict, (64, 64), ("cat", "dog"))


def save(path: Path, height: int, width: int) -> Path:
    Image.fromarray(np.full((height, width, 3), 80, np.uint8)).save(path)
    return path


def test_boxes_are_in_pixels_of_the_image_and_inside_it(predictor: Predictor) -> None:
    found = predictor.detect(np.zeros((128, 96, 3), np.uint8))
    np.testing.assert_allclose(found["boxes"], [[16, 8, 32, 24], [40, 60, 128, 96]])
    assert found["classes"].tolist() == [1, 0]


@pytest.mark.parametrize("kind", ["run", "tflite"])
def test_each_kind_detects_in_images_of_any_size(tiny_run, tiny_tflite, tiny_model, kind: str) -> None:
    predictor = load_predictor(tiny_run if kind == "run" else tiny_tflite)
    assert (predictor.image_size, predictor.class_names) == ((64, 64), ("digit",))
    found = predictor.detect(np.random.default_rng(0).integers(0, 256, (50, 90, 3), np.uint8))
    assert len(found["boxes"]) == len(found["scores"]) == len(found["classes"]) > 0
    assert (found["classes"] == 0).all()
    assert (found["boxes"] >= 0).all()
    assert (found["boxes"] <= [50, 90, 50, 90]).all()


@pytest.mark.parametrize("kind", ["run", "tflite"])
def test_a_model_gives_as_many_detections_as_one_asks_for(tiny_run, tiny_tflite, tiny_model, kind: str) -> None:
    path = tiny_run if kind == "run" else tiny_tflite
    predictors = load_predictor(path), load_predictor(path, 30)
    assert [predictor.max_detections for predictor in predictors] == [100, 30]
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    usual, few = (predictor.detect(image)["scores"] for predictor in predictors)
    assert len(usual) > len(few) == 30
    np.testing.assert_array_equal(usual[:30], few)


def test_a_file_that_takes_pixels_and_detects_needs_nothing_else(succeed, tiny_run, tiny_model, tmp_path: Path) -> None:
    file = tmp_path / "model.tflite"
    succeed("export", tiny_run, "--inputs", "uint8", "--outputs", "detections", "--output", file)
    image = np.random.default_rng(0).integers(0, 256, (50, 90, 3), np.uint8)
    found, expected = (load_predictor(path).detect(image) for path in (file, tiny_run))
    assert len(expected["scores"]) > 0
    # The file sees pixels rounded to whole ones.
    count = min(len(found["scores"]), len(expected["scores"]), 10)
    assert count > 0
    np.testing.assert_allclose(found["scores"][:count], expected["scores"][:count], atol=0.01)


def test_images_of_a_folder_come_by_name_and_nothing_else_does(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpg", "c.txt", "d"):
        (tmp_path / name).write_text("")
    assert [path.name for path in image_files(tmp_path)] == ["a.jpg", "b.PNG"]
    assert image_files(tmp_path / "d") == [tmp_path / "d"], "a file that is named is taken at its word"


def test_what_else_lies_in_the_folder_is_named(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.heic", "notes.txt", ".DS_Store"):
        (tmp_path / name).write_text("")
    for name in ("more", "folder.jpg"):
        (tmp_path / name).mkdir()
    files = image_files(tmp_path)
    assert [path.name for path in files] == ["b.PNG"], "a folder is no image, whatever its name"
    assert passed_over(tmp_path) == ["a.heic", "folder.jpg/", "more/", "notes.txt"]
    assert passed_over(files[0]) == []
    with pytest.raises(DataError, match=r"more has no images .* It has no other files\.$"):
        image_files(tmp_path / "more")
    (tmp_path / "b.PNG").unlink()
    with pytest.raises(DataError, match=r"has no images .* It has a\.heic, folder\.jpg/, more/, notes\.txt\.$"):
        image_files(tmp_path)


def test_pictures_and_all_detections_are_written(predictor: Predictor, tmp_path: Path) -> None:
    files = [save(tmp_path / "a.png", 128, 96), save(tmp_path / "b.jpg", 64, 64)]
    written = list(detect_in_files(predictor, files, tmp_path / "out", threshold=0.5))
    assert written == files
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png.png", "b.jpg.png", "detections.json"]
    found = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert found["a.png"] == {
        "size": [128, 96],
        "detections": [
            {"class": "dog", "score": 0.9, "box": [16.0, 8.0, 32.0, 24.0]},
            {"class": "cat", "score": 0.2, "box": [40.0, 60.0, 128.0, 96.0]},
        ],
    }


@pytest.mark.parametrize("cut", [0, -40], ids=["garbage", "truncated"])
def test_one_bad_image_leaves_nothing_behind(predictor: Predictor, tmp_path: Path, cut: int) -> None:
    files = [save(tmp_path / "a.jpg", 64, 64), save(tmp_path / "b.jpg", 64, 64)]
    files[1].write_bytes(files[1].read_bytes()[:cut])
    with pytest.raises(DataError, match=r"b\.jpg: "):
        list(detect_in_files(predictor, files, tmp_path / "out", threshold=0.5))
    assert not (tmp_path / "out").exists()
