"""Test the matching of objects and detections, and that each is counted once."""

from __future__ import annotations

import contextlib
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from spinenet_tf.data.dataset import DetectionDataset, Example
from spinenet_tf.data.masks import RunLengthMask
from spinenet_tf.evaluation.confusion import confusion_matrix, frequent_confusions, match

CAT, DOG, COW, BACKGROUND = range(4)
BOX = [10.0, 10.0, 30.0, 30.0]
FAR = [60.0, 60.0, 90.0, 90.0]
NEAR = [10.0, 10.0, 30.0, 25.0]  # IoU 0.75 with BOX


def image(*objects: tuple[list[float], int], crowd: tuple[int, ...] = ()) -> Example:
    boxes = np.array([box for box, _ in objects], np.float32).reshape(-1, 4)
    classes = np.array([label for _, label in objects], np.int32)
    crowds = np.isin(np.arange(len(objects)), crowd)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return Example(1, Path("a.jpg"), 100, 100, boxes, classes, crowds, area)


def found(*detections: tuple[list[float], int, float]) -> dict:
    boxes, classes, scores = zip(*detections, strict=True) if detections else ((), (), ())
    return {"boxes": np.array(boxes), "classes": np.array(classes, int), "scores": np.array(scores)}


def pairs(example: Example, detections: dict, threshold: float = 0.3) -> list[tuple[int, int]]:
    matches = match(example, detections, BACKGROUND, threshold)
    return sorted(zip(matches.true.tolist(), matches.found.tolist(), strict=True))


@pytest.mark.parametrize(
    ("objects", "detections", "expected"),
    [
        ([(BOX, CAT)], [(NEAR, CAT, 0.9)], [(CAT, CAT)]),
        ([(BOX, CAT)], [(NEAR, DOG, 0.9)], [(CAT, DOG)]),
        ([(BOX, CAT)], [(FAR, CAT, 0.9)], [(CAT, BACKGROUND), (BACKGROUND, CAT)]),
        ([(BOX, CAT)], [(NEAR, CAT, 0.2)], [(CAT, BACKGROUND)]),
        ([(BOX, CAT)], [], [(CAT, BACKGROUND)]),
        ([], [(BOX, DOG, 0.9)], [(BACKGROUND, DOG)]),
        ([], [], []),
        # Two of one object: the better score takes it, whatever its overlap.
        ([(BOX, CAT)], [(BOX, DOG, 0.5), (NEAR, CAT, 0.9)], [(CAT, CAT), (BACKGROUND, DOG)]),
        # Two objects in one place: each detection takes what it overlaps most, of what is left.
        ([(BOX, CAT), (NEAR, DOG)], [(NEAR, DOG, 0.5), (BOX, CAT, 0.9)], [(CAT, CAT), (DOG, DOG)]),
        ([(BOX, CAT), (NEAR, DOG)], [(BOX, CAT, 0.9), (BOX, CAT, 0.8)], [(CAT, CAT), (DOG, CAT)]),
        # An IoU of exactly one half is enough, less is not.
        ([(BOX, CAT)], [([10, 10, 30, 20], CAT, 0.9)], [(CAT, CAT)]),
        ([(BOX, CAT)], [([10, 10, 30, 19.9], CAT, 0.9)], [(CAT, BACKGROUND), (BACKGROUND, CAT)]),
        # A box without area overlaps nothing.
        ([(BOX, CAT)], [([10, 10, 10, 10], CAT, 0.9)], [(CAT, BACKGROUND), (BACKGROUND, CAT)]),
        # Padding is no detection.
        ([], [(BOX, -1, 0.9)], []),
    ],
)
def test_pairs(objects: list, detections: list, expected: list) -> None:
    assert pairs(image(*objects), found(*detections)) == expected


def test_a_crowd_is_no_object_and_takes_what_lies_in_it_of_its_class() -> None:
    example = image((FAR, CAT), (BOX, CAT), crowd=(0,))
    inside = [60.0, 60.0, 70.0, 70.0]
    detections = found((inside, CAT, 0.9), (inside, CAT, 0.8), (inside, DOG, 0.7), (BOX, CAT, 0.6))
    assert pairs(example, detections) == [(CAT, CAT), (BACKGROUND, DOG)]
    assert pairs(example, found(([65.0, 65.0, 65.0, 65.0], CAT, 0.9))) == [(CAT, BACKGROUND), (BACKGROUND, CAT)]


def test_masks_decide_where_boxes_are_equal() -> None:
    """Two objects of one box, an upper and a lower one: each detection takes the object whose mask it has."""
    upper, lower = (np.indices((60, 60))[0] < 30, np.indices((60, 60))[0] >= 30)
    encoded = [RunLengthMask.of(pixels) for pixels in (upper, lower)]
    box = [0.0, 0.0, 60.0, 60.0]
    objects = replace(image((box, 0), (box, 1)), height=60, width=60, masks=tuple(encoded))
    detections = found((box, 1, 0.9), (box, 0, 0.8))
    masked = detections | {"masks": encoded[::-1]}
    assert pairs(objects, masked) == [(0, 0), (1, 1)]
    assert pairs(objects, detections) == [(0, 1), (1, 0)], "without masks, the first object is taken"
    assert pairs(objects, detections | {"masks": encoded}) == [(0, 1), (1, 0)]
    crowd = replace(objects, crowd=np.array([True, False]))
    assert pairs(crowd, masked) == [(1, 1)], "the upper detection lies in the crowd of its class"


def test_the_error_weighs_distance_against_mistakes() -> None:
    example = image((BOX, CAT), (FAR, DOG))
    matches = match(example, found((NEAR, CAT, 0.9), ([0, 50, 9, 59], COW, 0.8)), BACKGROUND, 0.3)
    assert (matches.right, matches.missed, matches.wrong) == (1, 1, 1)
    assert matches.error == pytest.approx(((1 - 0.75) / 0.5 + 1 + 1) / 3)
    exact = match(example, found((BOX, CAT, 0.9), (FAR, DOG, 0.8)), BACKGROUND, 0.3)
    assert exact.error == pytest.approx(0)
    assert match(example, found(), BACKGROUND, 0.3).error == 1
    assert np.isnan(match(image(), found(), BACKGROUND, 0.3).error)


def test_a_confused_object_is_missed_and_wrong() -> None:
    matches = match(image((BOX, CAT)), found((BOX, DOG, 0.9)), BACKGROUND, 0.3)
    assert (matches.right, matches.missed, matches.wrong, matches.error) == (0, 1, 1, 1)


def random_image(rng: np.random.Generator, number: int, classes: int) -> tuple[Example, dict]:
    corner = rng.uniform(0, 70, (8, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(5, 30, (8, 2))], axis=1).astype(np.float32)
    labels = rng.integers(0, classes, 8).astype(np.int32)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    example = Example(number, Path(f"{number}.jpg"), 100, 100, boxes, labels, np.zeros(8, bool), area)
    near = np.repeat(boxes, 2, axis=0) + rng.normal(0, 2, (16, 4))
    return example, {"boxes": near, "scores": rng.random(16), "classes": rng.integers(0, classes, 16)}


def test_every_object_and_detection_is_counted_once() -> None:
    rng = np.random.default_rng(0)
    images = [random_image(rng, number, 3) for number in range(10)]
    matrix = confusion_matrix((match(*pair, BACKGROUND, 0.4) for pair in images), 3)
    labels = np.concatenate([example.classes for example, _ in images])
    kept = np.concatenate([item["classes"][item["scores"] >= 0.4] for _, item in images])
    assert matrix.shape == (4, 4)
    assert matrix[BACKGROUND, BACKGROUND] == 0
    np.testing.assert_array_equal(matrix.sum(axis=1)[:3], np.bincount(labels))
    np.testing.assert_array_equal(matrix.sum(axis=0)[:3], np.bincount(kept))


def test_of_one_class_those_found_are_those_that_pycocotools_finds() -> None:
    rng = np.random.default_rng(1)
    images = [random_image(rng, number, 1) for number in range(1, 20)]
    matrix = confusion_matrix((match(*pair, 1, 0.0) for pair in images), 1)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = DetectionDataset("one", ("thing",), (1,), tuple(e for e, _ in images)).coco()
        truth.createIndex()
        rows = [
            {"image_id": e.image_id, "category_id": 1, "score": s, "bbox": [b[1], b[0], b[3] - b[1], b[2] - b[0]]}
            for e, item in images
            for b, s in zip(item["boxes"], item["scores"], strict=True)
        ]
        run = COCOeval(truth, truth.loadRes(rows), "bbox")
        run.evaluate()
        run.accumulate()
    assert 20 < matrix[0, 0] < 152
    assert matrix[0, 0] / matrix[0].sum() == pytest.approx(run.eval["recall"][0, 0, 0, -1])


def test_frequent_confusions_are_of_two_classes_and_the_highest_first() -> None:
    matrix = np.array([[50, 2, 0, 9], [7, 50, 0, 9], [0, 2, 50, 9], [9, 9, 9, 0]])
    assert frequent_confusions(matrix, 12) == [(1, 0, 7), (0, 1, 2), (2, 1, 2)]
    assert frequent_confusions(matrix, 1) == [(1, 0, 7)]
    assert frequent_confusions(np.array([[3, 1], [1, 0]]), 12) == []
