"""A predictor takes one image or many, in batches of its size, and says which one it cannot take."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spinenet_tf import Classification, Detections, Predictor, load


class Model:
    """Return the same two objects for every image, the second beyond its edge, and one row of padding."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        self.batches.append(len(images))
        found = {
            "boxes": np.float32([[8, 4, 16, 12], [20, 30, 90, 90], [0, 0, 0, 0]]),
            "scores": np.float32([0.9, 0.2, 0.0]),
            "classes": np.int32([1, 0, -1]),
            "num_detections": np.int32(2),
        }
        return {name: np.repeat(values[None], len(images), axis=0) for name, values in found.items()}


def predictor(model: Model, batch_size: int = 1) -> Predictor:
    return Predictor(model, (64, 64), ("cat", "dog"), category_ids=(17, 18), batch_size=batch_size)


def blank(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 80, np.uint8)


def test_boxes_are_in_pixels_of_the_image_and_inside_it() -> None:
    found = predictor(Model())(blank(128, 96))
    assert isinstance(found, Detections)
    np.testing.assert_allclose(found.boxes, [[16, 8, 32, 24], [40, 60, 128, 96]])
    assert (found.classes.tolist(), found.names) == ([1, 0], ["dog", "cat"])
    assert (found.boxes.dtype, found.scores.dtype, found.classes.dtype) == (np.float32, np.float32, np.int32)
    np.testing.assert_array_equal(found.image, blank(128, 96))


def test_boxes_in_a_stretched_image_are_scaled_by_axis() -> None:
    model = Predictor(Model(), (64, 64), ("cat", "dog"), stretch=True)
    np.testing.assert_allclose(model(blank(128, 96)).boxes, [[16, 6, 32, 18], [40, 45, 128, 96]])


@pytest.mark.parametrize(("batch_size", "batches"), [(1, [1] * 5), (2, [2, 2, 1]), (8, [5])])
def test_a_list_is_run_in_batches_and_each_image_keeps_its_size(tmp_path: Path, batch_size, batches) -> None:
    Image.fromarray(blank(20, 64)).save(tmp_path / "a.png")
    given = [blank(128, 96), tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(blank(64, 32)), blank(8, 8)]
    model = Model()
    found = predictor(model, batch_size)(given)
    assert model.batches == batches
    assert [one.image.shape[:2] for one in found] == [(128, 96), (20, 64), (20, 64), (64, 32), (8, 8)]
    for one, alone in zip(found, map(predictor(Model()), given), strict=True):
        np.testing.assert_array_equal(one.boxes, alone.boxes)
    assert [len(one) for one in predictor(Model(), batch_size)(tuple(given))] == [2] * 5


def test_no_images_have_no_results() -> None:
    model = Model()
    assert (predictor(model)([]), model.batches) == ([], [])


def test_a_stream_reads_one_batch_at_a_time() -> None:
    read, model = [], Model()

    def images():
        for side in range(8, 13):
            read.append(side)
            yield blank(side, side)

    results = predictor(model, 2).stream(images())
    assert next(results).image.shape == (8, 8, 3)
    assert read == [8, 9]
    assert [len(one.image) for one in results] == [9, 10, 11, 12]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (blank(8, 8) / 255, r"^images\[1\]: An array must have uint8 pixels: floats may"),
        ("no.jpg", r"^images\[1\]: no\.jpg: no such image file$"),
        ([blank(8, 8)], r"^images\[1\]: An image must be a path, .*of type list$"),
    ],
)
def test_an_image_that_is_none_is_named_before_the_model_runs(bad, message: str) -> None:
    model = Model()
    with pytest.raises(ValueError, match=message):
        predictor(model)([blank(8, 8), bad])
    assert model.batches == []


def test_a_classifier_returns_probabilities() -> None:
    logits = np.float32([[0.0, np.log(3.0)]])
    model = Predictor(lambda images: np.repeat(logits, len(images), 0), (32, 32), ("cat", "dog"), task="classification")
    found = model(blank(50, 40))
    assert isinstance(found, Classification)
    np.testing.assert_allclose(found.probabilities, [0.25, 0.75], rtol=1e-6)
    assert (found.label, found.name, repr(found)) == (1, "dog", "Classification(dog 0.75, cat 0.25)")
    assert found.top(1) == [("dog", pytest.approx(0.75))]
    assert len(model([blank(9, 9)] * 3)) == 3


@pytest.mark.parametrize(("center", "kept"), [(None, 0.875), (0.5, 0.5)])
def test_a_classifier_sees_the_center_of_the_image(center: float | None, kept: float) -> None:
    seen = []

    def predict(images: np.ndarray) -> np.ndarray:
        seen.append(images)
        return np.zeros((len(images), 2))

    image = blank(64, 64)
    border = round(64 * (1 - kept) / 2)
    image[:border] = image[-border:] = 255
    Predictor(predict, (16, 16), ("a", "b"), task="classification", center=center)(image)
    assert np.ptp(seen[0][..., 0]) < 1e-6, "the border is cropped"
    image[: border + 4] = 255
    Predictor(predict, (16, 16), ("a", "b"), task="classification", center=center)(image)
    assert np.ptp(seen[1][..., 0]) > 0.1, "and nothing else"


@pytest.mark.parametrize("kind", ["run", "tflite", "saved_model"])
def test_each_kind_detects_in_images_of_any_size(tiny_run, tiny_tflite, tiny_saved_model, tiny_model, kind) -> None:
    predictor = load({"run": tiny_run, "tflite": tiny_tflite, "saved_model": tiny_saved_model}[kind])
    assert (predictor.image_size, predictor.class_names, predictor.max_detections) == ((64, 64), ("digit",), 100)
    found = predictor(np.random.default_rng(0).integers(0, 256, (50, 90, 3), np.uint8))
    assert len(found) > 0
    assert set(found.names) == {"digit"}
    assert (found.boxes >= 0).all()
    assert (found.boxes <= [50, 90, 50, 90]).all()
