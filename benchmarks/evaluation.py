"""Compare COCO evaluation, from arrays of detections to AP, with pycocotools, which Model Garden uses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contender import Contender, Fresh, contest
from benchmarks.measuring import alternate
from benchmarks.results import Row, compare
from benchmarks.work import Part, Settings

IMAGES, QUICK_IMAGES, DETECTIONS, CLASSES = 5000, 500, 100, 80
OBJECTS = 7  # per image, about as in COCO
SIZE = (480, 640)
GOAL = 5.0


def parts(quick: bool) -> list[Part]:
    """Return the only part."""
    return [Part("evaluation/COCO", partial(coco, QUICK_IMAGES if quick else IMAGES))]


def coco(images: int, settings: Settings) -> Iterator[Row]:
    """Compare the evaluation of a complete data set; one round of pycocotools takes a minute or two."""
    with contest(
        theirs=partial(Contender, _their_turns, images, libraries=("pycocotools.cocoeval",)),
        ours=partial(Contender, _our_turns, images, libraries=("faster_coco_eval",)),
    ) as pair:
        turns = {side: pair[side].turn("evaluate") for side in pair}
        times = alternate(turns, settings.effort.at_least(1), warm_ups=0)
        expected, found = pair["theirs"].value("AP"), pair["ours"].value("AP")
    if not abs(expected - found) < 1e-6:
        raise ValueError(f"The two APs differ. Received: {expected}, {found}")
    title = f"evaluation/{images} images x {DETECTIONS} detections"
    yield compare(title, f"{CLASSES} classes", **times, goal=GOAL, against="pycocotools")


def _our_turns(images: int) -> Mapping[str, Callable]:
    from spinenet_tf.evaluation.average_precision import evaluate

    dataset, detections = scenes(images)
    found: list[float] = []
    return {"evaluate": lambda: found.append(evaluate(dataset, detections).AP), "AP": found.pop}


def _their_turns(images: int) -> Mapping[str, Callable | Fresh]:
    """Return pycocotools' turn; its input dictionaries, which it modifies, are made outside the timed part."""
    from spinenet_tf.evaluation.coco_results import result_rows

    dataset, detections = scenes(images)
    truth = dataset.coco()
    rows = [row for item in detections for row in result_rows(**item, category_ids=dataset.category_ids)]
    found: list[float] = []
    evaluate = Fresh(lambda: deepcopy((truth, rows)), lambda made: found.append(_pycocotools(*made)))
    return {"evaluate": evaluate, "AP": found.pop}


def _pycocotools(truth: dict[str, Any], rows: list[dict]) -> float:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    dataset = COCO()
    dataset.dataset = truth
    dataset.createIndex()
    run = COCOeval(dataset, dataset.loadRes(rows), "bbox")
    run.evaluate()
    run.accumulate()
    run.summarize()
    return float(run.stats[0])


def scenes(images: int) -> tuple[Any, list[dict[str, Any]]]:
    """Return a data set without files, and detections: each object several times, and many false positives."""
    from spinenet_tf.data.dataset import DetectionDataset, Example

    random = np.random.default_rng(0)
    examples, detections = [], []
    for number in range(1, images + 1):
        boxes, classes = _boxes(random, OBJECTS), random.integers(0, CLASSES, OBJECTS).astype("int32")
        sides = boxes[:, 2:] - boxes[:, :2]
        nowhere = np.zeros(OBJECTS, bool)
        examples.append(Example(number, Path(f"{number}.jpg"), *SIZE, boxes, classes, nowhere, sides.prod(axis=1)))
        detections.append({"image_id": number} | _detections(random, boxes, classes))
    names = tuple(f"class {index}" for index in range(CLASSES))
    return DetectionDataset("scenes", names, tuple(range(1, CLASSES + 1)), tuple(examples)), detections


def _boxes(random: np.random.Generator, count: int) -> np.ndarray:
    sides = np.array(SIZE) * 2.0 ** random.uniform(-5, -0.5, (count, 2))
    corners = random.uniform(0, 1, (count, 2)) * (SIZE - sides)
    return np.concatenate([corners, corners + sides], axis=-1).astype("float32")


def _detections(random: np.random.Generator, boxes: np.ndarray, classes: np.ndarray) -> dict[str, np.ndarray]:
    copies = 4 * len(boxes)
    near = np.tile(boxes, (4, 1)) * random.normal(1.0, 0.05, (copies, 4))
    found = np.concatenate([near, _boxes(random, DETECTIONS - copies)]).astype("float32")
    labels = np.concatenate([np.tile(classes, 4), random.integers(0, CLASSES, DETECTIONS - copies)])
    scores = np.concatenate([random.uniform(0.2, 1, copies), random.uniform(0.05, 0.5, DETECTIONS - copies)])
    return {"boxes": np.maximum(found, 0), "scores": scores, "classes": labels}
