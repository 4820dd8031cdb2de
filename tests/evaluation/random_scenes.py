"""Generate random data sets and detections, and evaluate them with pycocotools."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from spinenet_tf.data.dataset import DetectionDataset, Example

CLASSES = 4


def random_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    center, size = rng.uniform(40, 200, (count, 2)), np.exp(rng.uniform(np.log(8), np.log(160), (count, 2)))
    return np.concatenate([center - size / 2, center + size / 2], axis=1).clip(0, 240).astype(np.float32)


def random_dataset(rng: np.random.Generator, images: int = 12, classes: int = CLASSES - 1) -> DetectionDataset:
    """Return ground truth with crowds, a last class without objects, and an empty image."""
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
    """Return detections for each image: jittered ground truth with mistakes, and noise."""
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


def by_pycocotools(
    dataset: DetectionDataset, detections: list[dict], truths: dict | None = None, max_detections: int = 100
) -> COCOeval:
    """Evaluate with pycocotools against `truths`, the content of a COCO file, or against the data set.

    Its summary supports only 100 for `max_detections`.
    """
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
        run.params.maxDets = [1, 10, max_detections]
        run.evaluate()
        run.accumulate()
        if max_detections == 100:
            run.summarize()
    return run


def by_pycocotools_from_files(annotations: Path, results: Path) -> np.ndarray:
    """Return COCO's 12 metrics of a results file, as pycocotools alone reads and evaluates it."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
        run = COCOeval(truth, truth.loadRes(str(results)), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run.stats


def write_coco(folder: Path, rng: np.random.Generator) -> Path:
    """Write a COCO file with unordered ids with gaps, crowds, and mask areas on both sides of each size limit.

    Categories are in descending order of their ids, and the second image has no objects.
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
