"""Test that the 12 metrics equal pycocotools', and that degenerate cases are defined."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from random_scenes import (
    CLASSES,
    by_pycocotools,
    by_pycocotools_from_files,
    random_dataset,
    random_detections,
    write_coco,
)

from spinenet_tf.data.dataset import DetectionDataset, Example
from spinenet_tf.data.formats.coco import read_coco
from spinenet_tf.evaluation.average_precision import crowded_images, evaluate
from spinenet_tf.evaluation.metrics import METRICS


@pytest.mark.parametrize("seed", range(5))
def test_the_twelve_numbers_are_those_of_pycocotools(seed: int, capsys: pytest.CaptureFixture) -> None:
    rng = np.random.default_rng(seed)
    dataset = random_dataset(rng)
    detections = random_detections(rng, dataset)
    capsys.readouterr()
    result = evaluate(dataset, iter(detections))
    assert capsys.readouterr() == ("", "")
    expected = by_pycocotools(dataset, detections)
    stats = np.where(expected.stats < 0, np.nan, expected.stats)
    np.testing.assert_allclose([getattr(result, name) for name in METRICS], stats, atol=1e-9)
    assert 0.05 < result.AP < 0.95
    precision = expected.eval["precision"][:, :, :, 0, -1]
    assert precision.shape == (10, 101, CLASSES)
    np.testing.assert_allclose(result.precision, np.where(precision < 0, np.nan, precision), atol=1e-9)
    for column, name in enumerate(dataset.class_names[:-1]):
        assert result.per_class[name] == pytest.approx(precision[:, :, column].mean(), abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_a_file_that_is_read_scores_as_pycocotools_scores_the_file_itself(tmp_path: Path, seed: int) -> None:
    """pycocotools reads the file directly; images have more than 100 detections."""
    rng = np.random.default_rng(seed)
    path = write_coco(tmp_path, rng)
    dataset = read_coco(path, tmp_path)
    detections = [item for _ in range(3) for item in random_detections(rng, dataset)]
    merged = [
        {"image_id": example.image_id}
        | {
            key: np.concatenate([item[key] for item in detections if item["image_id"] == example.image_id])
            for key in ("boxes", "scores", "classes")
        }
        for example in dataset
    ]
    assert max(len(item["scores"]) for item in merged) > 100
    result = evaluate(dataset, merged)
    expected = by_pycocotools(dataset, merged, json.loads(path.read_text())).stats
    assert (expected > 0.01).all()
    np.testing.assert_allclose([getattr(result, name) for name in METRICS], expected, atol=1e-6)


def test_pycocotools_finds_the_same_metrics_in_the_saved_detections(tmp_path: Path) -> None:
    """The ids are those of the data set, not those that the evaluator counts with; padding is not saved."""
    rng = np.random.default_rng(5)
    annotations = write_coco(tmp_path, rng)
    detections = random_detections(rng, read_coco(annotations, tmp_path))
    detections[0]["classes"][:3] = -1
    ours = evaluate(read_coco(annotations, tmp_path), iter(detections))
    ours.save_detections(tmp_path / "results.json")
    theirs = by_pycocotools_from_files(annotations, tmp_path / "results.json")
    np.testing.assert_allclose([getattr(ours, name) for name in METRICS], theirs, atol=1e-9)
    assert len(json.loads((tmp_path / "results.json").read_text())) == sum(len(i["scores"]) for i in detections) - 3
    with pytest.raises(FileExistsError):
        ours.save_detections(tmp_path / "results.json")


def test_perfect_detections_score_one() -> None:
    dataset = random_dataset(np.random.default_rng(1))
    perfect = [
        {"image_id": e.image_id, "boxes": e.boxes, "scores": np.ones(len(e.boxes)), "classes": e.classes}
        for e in dataset
    ]
    result = evaluate(dataset, perfect)
    assert result.AP == result.AP50 == result.AR100 == pytest.approx(1.0)
    assert result.per_class["a"] == pytest.approx(1.0)


def test_no_detections_at_all_score_zero() -> None:
    result = evaluate(random_dataset(np.random.default_rng(0)), [])
    assert result.AP == result.AR100 == 0.0
    assert [result.per_class[name] for name in "abc"] == [0.0, 0.0, 0.0]


def test_a_class_without_ground_truth_is_undefined_and_null_in_json() -> None:
    rng = np.random.default_rng(0)
    dataset = random_dataset(rng)
    result = evaluate(dataset, random_detections(rng, dataset))
    assert math.isnan(result.per_class["d"])
    values = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert values["per_class"]["d"] is None
    assert values["AP"] == result.AP
    assert list(values) == [*METRICS, "per_class"]


def test_no_ground_truth_at_all_is_undefined() -> None:
    empty = random_dataset(np.random.default_rng(0), images=1)
    result = evaluate(empty, random_detections(np.random.default_rng(0), empty))
    assert all(math.isnan(getattr(result, name)) for name in METRICS)
    assert all(math.isnan(value) for value in result.per_class.values())


def test_padding_rows_and_the_order_of_images_change_nothing() -> None:
    rng = np.random.default_rng(2)
    dataset = random_dataset(rng)
    detections = random_detections(rng, dataset)
    padded = [
        {
            "image_id": item["image_id"],
            "boxes": np.pad(item["boxes"], ((0, 5), (0, 0))),
            "scores": np.pad(item["scores"], (0, 5)),
            "classes": np.pad(item["classes"], (0, 5), constant_values=-1),
        }
        for item in reversed(detections)
    ]
    assert evaluate(dataset, padded).to_dict() == evaluate(dataset, detections).to_dict()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 5}, "an image id that is not in the data set"),
        ({"classes": [4]}, "classes must be 0..3"),
        ({"classes": [-2]}, "classes must be 0..3"),
        ({"scores": [0.5, 0.5]}, "differ in length"),
        ({"scores": [np.nan]}, "must be finite"),
        ({"boxes": [[0, 0, np.inf, 1]]}, "must be finite"),
    ],
)
def test_detections_that_cannot_be_are_refused(change: dict, message: str) -> None:
    item = {"image_id": 100, "boxes": [[0, 0, 5, 5]], "scores": [0.5], "classes": [0]} | change
    with pytest.raises(ValueError, match=message):
        evaluate(random_dataset(np.random.default_rng(0)), [item])


def crowded_dataset(objects: int = 300) -> DetectionDataset:
    """Return an image with many objects, mostly of class a, and one with a single object."""
    top, left = np.divmod(np.arange(objects), 20)
    boxes = np.stack([top, left, top + 0.9, left + 0.9], axis=1).astype(np.float32) * 12
    labels = (np.arange(objects) % 10 == 9).astype(np.int32)
    rows = [(boxes, labels), (boxes[:1], labels[:1])]
    examples = [
        Example(
            key, Path(f"{key}.jpg"), 240, 240, boxes, labels, np.zeros(len(labels), bool), np.full(len(labels), 99.0)
        )
        for key, (boxes, labels) in enumerate(rows, start=1)
    ]
    return DetectionDataset("full", ("a", "b"), (1, 2), tuple(examples))


def perfect(dataset: DetectionDataset) -> list[dict]:
    return [
        {"image_id": e.image_id, "boxes": e.boxes, "scores": np.linspace(1, 0.5, len(e.boxes)), "classes": e.classes}
        for e in dataset
    ]


def test_more_detections_than_100_count_if_one_asks_for_them_and_are_not_called_coco() -> None:
    dataset = crowded_dataset()
    by_coco, by_us = (evaluate(dataset, perfect(dataset), *limit) for limit in ((), (300,)))
    assert (by_coco.crowded, by_us.crowded) == (1, 0)  # 270 objects of class a
    assert by_coco.per_class == pytest.approx({"a": 38 / 101, "b": 1.0})  # recall stops at 101 of 271
    assert by_us.per_class == pytest.approx({"a": 1.0, "b": 1.0})
    expected = by_pycocotools(dataset, perfect(dataset), max_detections=300)
    np.testing.assert_allclose(by_us.precision, expected.eval["precision"][:, :, :, 0, 2], atol=1e-9)
    np.testing.assert_allclose(by_us.AR10, expected.eval["recall"][:, :, 0, 1].mean(), atol=1e-9)
    values = by_us.to_dict()
    assert list(values) == [
        *("AP@300", "AP50@300", "AP75@300", "APs@300", "APm@300", "APl@300", "AR1", "AR10", "AR300"),
        *("ARs@300", "ARm@300", "ARl@300", "per_class", "max_detections"),
    ]
    assert (values["AP@300"], values["max_detections"]) == (pytest.approx(1.0), 300)
    assert list(by_coco.to_dict()) == [*METRICS, "per_class"]


@pytest.mark.parametrize("limit", [11, 99])
def test_fewer_detections_than_100_count_if_one_asks_for_that(limit: int) -> None:
    dataset = crowded_dataset()
    result = evaluate(dataset, perfect(dataset), limit)
    expected = by_pycocotools(dataset, perfect(dataset), max_detections=limit)
    np.testing.assert_allclose(result.precision, expected.eval["precision"][:, :, :, 0, 2], atol=1e-9)
    assert list(result.to_dict())[8] == f"AR{limit}"


def test_no_more_detections_than_those_of_ar10_are_refused() -> None:
    with pytest.raises(ValueError, match=r"`max_detections` must be larger than 10\. Received: max_detections=10$"):
        evaluate(crowded_dataset(), [], 10)


@pytest.mark.parametrize(
    ("of_a_class", "of_an_image", "count"),
    [(100, None, 1), (269, None, 1), (270, None, 0), (270, 299, 1), (270, 300, 0), (0, 0, 2)],
)
def test_images_are_counted_that_hold_more_objects_than_detections_count(of_a_class, of_an_image, count: int) -> None:
    """COCO limits detections per class and image, and a model limits them per image."""
    assert crowded_images(crowded_dataset(), of_a_class, of_an_image) == count


def test_crowds_are_no_objects_to_find() -> None:
    full, single = crowded_dataset()
    dataset = replace(crowded_dataset(), examples=(replace(full, crowd=np.ones(300, bool)), single))
    assert crowded_images(dataset, 100, 100) == 0
