"""The twelve numbers are pycocotools' own, and the degenerate cases are defined."""

from __future__ import annotations

import contextlib
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from spinenet_tf.data.coco import read_coco
from spinenet_tf.data.dataset import DetectionDataset, Example
from spinenet_tf.evaluation.coco import METRICS, evaluate

CLASSES = 4


def random_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    centre, size = rng.uniform(40, 200, (count, 2)), np.exp(rng.uniform(np.log(8), np.log(160), (count, 2)))
    return np.concatenate([centre - size / 2, centre + size / 2], axis=1).clip(0, 240).astype(np.float32)


def random_dataset(rng: np.random.Generator, images: int = 12, classes: int = CLASSES - 1) -> DetectionDataset:
    """Return ground truth with crowds in which the last class does not occur and one image is empty."""
    examples = []
    for number in range(images):
        count = number % 7
        boxes = random_boxes(rng, count)
        area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) * rng.uniform(0.5, 1, count).astype(np.float32)
        labels = rng.integers(0, classes, count).astype(np.int32)
        crowd = rng.random(count) < 0.15
        examples.append(Example(100 - number, Path(f"{number}.jpg"), 240, 240, boxes, labels, crowd, area))
    return DetectionDataset("random", tuple("abcd"[:CLASSES]), (2, 3, 17, 90), tuple(examples))


def random_detections(rng: np.random.Generator, dataset: DetectionDataset) -> list[dict]:
    """Return for each image jittered ground truth with mistakes, and noise."""
    items = []
    for example in dataset:
        repeats = rng.integers(0, 4, len(example.boxes))
        near = np.repeat(example.boxes, repeats, axis=0)
        near = near + rng.normal(0, 3, near.shape)
        boxes = np.concatenate([near, random_boxes(rng, 6)])
        right = np.repeat(example.classes, repeats)
        labels = np.concatenate([right, rng.integers(0, CLASSES, 6)])
        labels = np.where(rng.random(len(labels)) < 0.1, rng.integers(0, CLASSES, len(labels)), labels)
        items.append(
            {"image_id": example.image_id, "boxes": boxes, "scores": rng.random(len(boxes)), "classes": labels}
        )
    return items


def by_pycocotools(dataset: DetectionDataset, detections: list[dict], truths: dict | None = None) -> COCOeval:
    """Return pycocotools' evaluation against `truths`, the content of a COCO file, or against the data set's own."""
    rows = [
        {
            "image_id": item["image_id"],
            "category_id": dataset.category_ids[label],
            "bbox": [box[1], box[0], box[3] - box[1], box[2] - box[0]],
            "score": score,
        }
        for item in detections
        for box, score, label in zip(item["boxes"], item["scores"], item["classes"], strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = truths or dataset.coco()
        truth.createIndex()
        run = COCOeval(truth, truth.loadRes(rows), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run


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


def write_coco(folder: Path, rng: np.random.Generator) -> Path:
    """Write a file as others do: ids with gaps and in no order, crowds, and areas of masks on both sides of each limit.

    The categories stand in descending order of their ids, the second image has no objects.
    """
    images = [{"id": int(i), "file_name": f"{i}.jpg", "height": 240, "width": 240} for i in (900, 7, 41, 123456, 3, 88)]
    annotations = []
    for image in images[:1] + images[2:]:
        for top, left, bottom, right in random_boxes(rng, 30).round(2).tolist():
            bbox = [left, top, right - left, bottom - top]
            row = {"id": 5 + 3 * len(annotations), "image_id": image["id"], "bbox": bbox}
            row |= {"category_id": int(rng.choice([90, 17, 2])), "iscrowd": int(rng.random() < 0.1)}
            annotations.append(row | {"area": bbox[2] * bbox[3] * float(rng.uniform(0.3, 1))})
        (folder / image["file_name"]).touch()
    (folder / "7.jpg").touch()
    rng.shuffle(annotations)
    categories = [{"id": i, "name": name} for i, name in ((90, "d"), (17, "c"), (3, "b"), (2, "a"))]
    path = folder / "annotations.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


@pytest.mark.parametrize("seed", range(3))
def test_a_file_that_is_read_scores_as_pycocotools_scores_the_file_itself(tmp_path: Path, seed: int) -> None:
    """Nothing of ours stands between pycocotools and the file; images have more than 100 detections."""
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
        ({"image_id": 5}, "an image that the data set does not have"),
        ({"classes": [4]}, "classes are 0..3"),
        ({"classes": [-2]}, "classes are 0..3"),
        ({"scores": [0.5, 0.5]}, "differ in length"),
        ({"scores": [np.nan]}, "must be finite"),
        ({"boxes": [[0, 0, np.inf, 1]]}, "must be finite"),
    ],
)
def test_detections_that_cannot_be_are_refused(change: dict, message: str) -> None:
    item = {"image_id": 100, "boxes": [[0, 0, 5, 5]], "scores": [0.5], "classes": [0]} | change
    with pytest.raises(ValueError, match=message):
        evaluate(random_dataset(np.random.default_rng(0)), [item])
