"""Test that AP does not depend on the ids of images, categories and annotations, if their order is the same."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_scenes import CLASSES, by_pycocotools, random_dataset, random_detections, write_coco

from spinenet_tf.data.dataset import DetectionDataset, Example
from spinenet_tf.data.formats.coco import read_coco
from spinenet_tf.evaluation.average_precision import evaluate
from spinenet_tf.evaluation.detections import detect_in_dataset
from spinenet_tf.evaluation.metrics import METRICS

IMAGES = 12
TIMESTAMP = 202601011234567890  # an id of an image as cameras make them: no double holds it and its neighbors
DATASET = random_dataset(np.random.default_rng(3), IMAGES)  # ids 100, 99, ... in file order
DETECTIONS = random_detections(np.random.default_rng(3), DATASET)
INT64 = st.integers(-(2**63), 2**63 - 1)


def tied(detections: list[dict]) -> list[dict]:
    """Replace the scores of detections by one of four values."""
    return [item | {"scores": np.ceil(item["scores"] * 4) / 4} for item in detections]


def renamed(
    detections: list[dict], images: dict[int, int], categories: tuple[int, ...]
) -> tuple[DetectionDataset, list[dict]]:
    examples = tuple(dataclasses.replace(e, image_id=images[e.image_id]) for e in DATASET)
    found = [item | {"image_id": images[item["image_id"]]} for item in detections]
    return dataclasses.replace(DATASET, examples=examples, category_ids=categories), found


def in_order(ids: set[int]) -> dict[int, int]:
    """Replace the image ids by these, in the same order."""
    return dict(zip(sorted(e.image_id for e in DATASET), sorted(ids), strict=True))


@pytest.mark.parametrize("first", [0, 1, 2**31, 2**53 - 6, TIMESTAMP, 2**63 - IMAGES, -(2**63)])
def test_ap_is_the_same_wherever_ids_begin(first: int) -> None:
    images = in_order(set(range(first, first + IMAGES)))
    categories = tuple(min(first, 2**63 - CLASSES) + label for label in range(CLASSES))
    assert evaluate(*renamed(DETECTIONS, images, categories)).to_dict() == evaluate(DATASET, DETECTIONS).to_dict()


@settings(max_examples=20)
@given(st.sets(INT64, min_size=IMAGES, max_size=IMAGES), st.sets(INT64, min_size=CLASSES, max_size=CLASSES))
def test_ap_is_the_same_under_any_renaming_that_keeps_the_order(images: set[int], categories: set[int]) -> None:
    """This also holds for tied scores."""
    detections = tied(DETECTIONS)
    found = evaluate(*renamed(detections, in_order(images), tuple(sorted(categories))))
    assert found.to_dict() == evaluate(DATASET, detections).to_dict()


@settings(max_examples=20)
@given(
    st.lists(INT64, min_size=IMAGES, max_size=IMAGES, unique=True),
    st.lists(INT64, min_size=CLASSES, max_size=CLASSES, unique=True),
)
def test_ap_is_the_same_under_any_renaming_when_scores_are_distinct(images: list[int], categories: list[int]) -> None:
    names = dict(zip((e.image_id for e in DATASET), images, strict=True))
    found, expected = evaluate(*renamed(DETECTIONS, names, tuple(categories))), evaluate(DATASET, DETECTIONS)
    np.testing.assert_array_equal(found.precision, expected.precision)
    numbers = [[getattr(result, name) for name in METRICS] for result in (found, expected)]
    np.testing.assert_allclose(*numbers, rtol=0, atol=1e-12)
    assert found.per_class == pytest.approx(expected.per_class, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("offset", [0, TIMESTAMP])
@pytest.mark.parametrize("seed", range(3))
def test_tied_scores_and_files_in_no_order_score_as_with_pycocotools(tmp_path: Path, seed: int, offset: int) -> None:
    rng = np.random.default_rng(seed)
    path = write_coco(tmp_path, rng)
    content = json.loads(path.read_text())
    for entry in content["images"]:
        entry["id"] += offset
    for entry in content["annotations"]:
        entry["image_id"] += offset
    path.write_text(json.dumps(content))
    dataset = read_coco(path, tmp_path)
    assert [e.image_id for e in dataset] != sorted(e.image_id for e in dataset)
    detections = tied(random_detections(rng, dataset))
    rng.shuffle(detections)
    expected = by_pycocotools(dataset, detections, content)
    result = evaluate(dataset, detections)
    np.testing.assert_allclose([getattr(result, name) for name in METRICS], expected.stats, atol=1e-9)
    np.testing.assert_allclose(result.precision[:, :, 0], expected.eval["precision"][:, :, 0, 0, -1], atol=1e-9)


def test_detecting_in_a_data_set_keeps_ids_that_no_double_holds(tmp_path: Path) -> None:
    from PIL import Image

    examples = []
    for number in range(3):
        Image.new("RGB", (64, 64)).save(tmp_path / f"{number}.png")
        nothing = np.zeros(0, np.float32)
        boxes, classes, crowd = nothing.reshape(0, 4), nothing.astype(np.int32), nothing.astype(bool)
        examples.append(Example(TIMESTAMP + number, tmp_path / f"{number}.png", 64, 64, boxes, classes, crowd, nothing))
    dataset = DetectionDataset("three", ("a",), (1,), tuple(examples))

    def predict(images: np.ndarray) -> dict[str, np.ndarray]:
        count = len(images)
        return {
            "boxes": np.zeros((count, 1, 4)),
            "scores": np.zeros((count, 1)),
            "classes": np.zeros((count, 1), np.int32),
            "num_detections": np.ones(count, np.int32),
        }

    found = [item["image_id"] for item in detect_in_dataset(predict, dataset, (64, 64), 2)]
    assert found == [TIMESTAMP, TIMESTAMP + 1, TIMESTAMP + 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 100.0}, r"image ids must be integers\. Received: image_id=100\.0$"),
        ({"image_id": "100"}, r"image ids must be integers\. Received: image_id='100'$"),
        ({"classes": [0.5]}, r"classes must be 0\.\.3"),
        ({"classes": [np.nan]}, r"classes must be 0\.\.3"),
    ],
)
def test_what_may_be_another_id_or_class_is_refused(change: dict, message: str) -> None:
    item = {"image_id": 100, "boxes": [[0, 0, 5, 5]], "scores": [0.5], "classes": [0]} | change
    with pytest.raises(ValueError, match=message):
        evaluate(DATASET, [item])


def test_images_of_one_id_are_refused() -> None:
    twice = dataclasses.replace(DATASET, examples=DATASET.examples + DATASET.examples[:1])
    with pytest.raises(ValueError, match=r"two images have the same id\. Received: image_id=100$"):
        evaluate(twice, [])
