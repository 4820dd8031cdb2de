"""COCO's average precision, by faster-coco-eval."""

from __future__ import annotations

import gc
import math
import operator
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np

from spinenet_tf.data.dataset import DetectionDataset

# In the order of COCO's own summary.
METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
MAX_DETECTIONS = 100  # of a class in an image that COCO counts
_FEWER = (1, 10)  # that it counts for AR1 and AR10


@dataclass(frozen=True)
class Evaluation:
    """COCO's twelve numbers in 0..1, and AP and curves of each class; NaN where there is no ground truth.

    They are COCO's own where `max_detections` is `MAX_DETECTIONS`.
    """

    AP: float  # mean over IoU 0.50:0.05:0.95
    AP50: float
    AP75: float
    APs: float  # objects under 32 x 32 px of the file
    APm: float
    APl: float  # objects over 96 x 96 px
    AR1: float  # recall with one detection per image
    AR10: float
    AR100: float
    ARs: float
    ARm: float
    ARl: float
    per_class: dict[str, float]
    precision: np.ndarray = field(repr=False, compare=False)  # [IoU 0.50:0.05:0.95, recall 0:0.01:1, class]
    max_detections: int = MAX_DETECTIONS  # of a class in an image that were counted, also for "AR100"
    crowded: int = 0  # images with more objects than detections are counted: see `crowded_images`

    @property
    def is_coco(self) -> bool:
        """Tell whether the numbers may stand beside others of COCO."""
        return self.max_detections == MAX_DETECTIONS

    @property
    def labels(self) -> dict[str, str]:
        """What each of `METRICS` is called where it is shown: "AP", or "AP@300" where 300 detections count."""
        if self.is_coco:
            return dict(zip(METRICS, METRICS, strict=True))
        same = {"AR1": "AR1", "AR10": "AR10", "AR100": f"AR{self.max_detections}"}
        return {name: f"{name}@{self.max_detections}" for name in METRICS} | same

    def remarks(self) -> list[str]:
        """Return the sentences that must stand beside the numbers, where these are not what one takes them for."""
        told = []
        if not self.is_coco:
            told.append(f"COCO counts {MAX_DETECTIONS} detections, these numbers {self.max_detections}.")
        if self.crowded:
            told.append(
                f"Images with more objects than detections are counted: {self.crowded}. More of these count with "
                "evaluate --max-detections."
            )
        return told

    def to_log(self) -> dict[str, float]:
        """Return the numbers that a training logs: those that are defined."""
        numbers = {name: getattr(self, name) for name in METRICS}
        return {name: value for name, value in numbers.items() if not math.isnan(value)}

    def to_dict(self) -> dict:
        """Return the numbers as plain values for JSON, by their labels, with None for NaN."""
        numbers = {label: _json(getattr(self, name)) for name, label in self.labels.items()}
        limit = {} if self.is_coco else {"max_detections": self.max_detections}
        return numbers | {"per_class": {name: _json(value) for name, value in self.per_class.items()}} | limit


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Pause the search for cyclic garbage, which a row for each detection sets off again and again.

    Nothing here makes cycles, and the search takes more than half of the time.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_collector_paused()
def evaluate(
    dataset: DetectionDataset,
    detections: Iterable[Mapping],
    max_detections: int = MAX_DETECTIONS,
    slots: int | None = None,
) -> Evaluation:
    """Measure detections against a data set, crowds and all, as COCO does.

    Each item is one image: `{"image_id": int, "boxes": [M, 4], "scores": [M], "classes": [M]}`, boxes yxyx in pixels
    of the file; rows of class -1 are padding. Images that do not occur have no detections. Of each class in an image
    the best `max_detections` count. `slots` is how many a model gives of an image, where that has a limit.

    Raises:
        ValueError: an image id or class that the data set does not have, lengths that differ, values that are not
            finite, two images of the data set with one id, or `max_detections` of 10, which AR10 counts, or less.
    """
    if max_detections <= _FEWER[-1]:
        raise ValueError(f"more than {_FEWER[-1]} detections count. Received: {max_detections=}")
    from faster_coco_eval import COCO, COCOeval_faster

    numbered, numbers_of = _numbered(dataset)
    truth = COCO(numbered.coco(), print_function=_quiet)
    rows = [row for item in detections for row in _rows(item, numbers_of, len(dataset.class_names))]
    run = COCOeval_faster(truth, truth.loadRes(rows), iouType="bbox", print_function=_quiet)
    run.params.maxDets = [*_FEWER, max_detections]
    run.run()
    numbers = (_defined(value) for value in run.stats[: len(METRICS)])
    precision = _precision(run.eval["precision"])
    return Evaluation(
        **dict(zip(METRICS, numbers, strict=True)),
        per_class=dict(zip(dataset.class_names, precision.mean(axis=(0, 1)).tolist(), strict=True)),
        precision=precision,
        max_detections=max_detections,
        crowded=crowded_images(dataset, max_detections, slots),
    )


def crowded_images(dataset: DetectionDataset, of_a_class: int, of_an_image: int | None = None) -> int:
    """Count the images that hold more objects, crowds aside, than these numbers of detections."""
    labels = (example.classes[example.trainable] for example in dataset)
    return sum(
        bool(own.size and np.bincount(own).max() > of_a_class) or (of_an_image is not None and own.size > of_an_image)
        for own in labels
    )


def _numbered(dataset: DetectionDataset) -> tuple[DetectionDataset, dict[int, int]]:
    """Number images and categories 1..N in ascending order of their ids; return also image id -> number.

    The evaluator keeps ids as doubles, so it would take large ones for each other. Among tied scores its result depends
    on the order of the images, which pycocotools sorts by their ids.
    """
    examples = sorted(dataset, key=lambda example: example.image_id)
    numbers = {example.image_id: number for number, example in enumerate(examples, start=1)}
    if len(numbers) < len(examples):
        twice = next(first.image_id for first, second in pairwise(examples) if first.image_id == second.image_id)
        raise ValueError(f"{dataset.name}: two images have one id. Received: image_id={twice}")
    renamed = tuple(replace(example, image_id=numbers[example.image_id]) for example in examples)
    categories = tuple(range(1, len(dataset.class_names) + 1))  # AP is a mean over them: their order is no matter
    return replace(dataset, examples=renamed, category_ids=categories), numbers


def _rows(item: Mapping, numbers: Mapping[int, int], num_classes: int) -> list[dict]:
    """Return the detections of one image as COCO result rows; `numbers` are what images are called there."""
    image_id = _whole(item["image_id"])
    if image_id not in numbers:
        raise ValueError(f"Detections of an image that the data set does not have. Received: {image_id=}")
    boxes, scores = np.asarray(item["boxes"], np.float64).reshape(-1, 4), np.asarray(item["scores"], np.float64)
    classes = np.asarray(item["classes"])
    if not len(boxes) == len(scores) == len(classes):
        lengths = f"{len(boxes)}, {len(scores)}, {len(classes)}"
        raise ValueError(f"image {image_id}: boxes, scores and classes differ in length. Received: {lengths}")
    kept = classes != -1
    boxes, scores, classes = boxes[kept], scores[kept], classes[kept]
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise ValueError(f"image {image_id}: boxes and scores must be finite")
    if not np.isin(classes, np.arange(num_classes)).all():
        raise ValueError(f"image {image_id}: classes are 0..{num_classes - 1}. Received: {np.unique(classes)}")
    sides = boxes[:, [1, 0, 3, 2]] - boxes[:, [1, 0, 1, 0]] * [0, 0, 1, 1]
    rows = zip(classes.astype(int).tolist(), sides.tolist(), scores.tolist(), strict=True)
    number = numbers[image_id]
    return [{"image_id": number, "category_id": label + 1, "bbox": bbox, "score": score} for label, bbox, score in rows]


def _whole(image_id: Any) -> int:
    """Return an integer of whatever type; a float, which may have lost digits, is refused."""
    try:
        return operator.index(image_id)
    except TypeError:
        raise ValueError(f"image ids are integers. Received: {image_id=}") from None


def _precision(precision: np.ndarray) -> np.ndarray:
    """Return `[IoU, recall, class]` of `[IoU, recall, class, area range, detections per image]`, NaN for COCO's -1."""
    curves = np.asarray(precision)[:, :, :, 0, -1]
    return np.where(curves < 0, np.nan, curves)


def _defined(value: float) -> float:
    return math.nan if value < 0 else float(value)


def _json(value: float) -> float | None:
    return None if math.isnan(value) else value


def _quiet(*_: object) -> None:
    """Take the evaluator's progress messages, which it would print."""
