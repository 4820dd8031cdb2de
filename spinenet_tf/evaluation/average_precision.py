"""Compute COCO's average precision with faster-coco-eval."""

from __future__ import annotations

import gc
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from spinenet_tf.data.dataset import DataError, DetectionDataset
from spinenet_tf.evaluation.coco_results import rows_of
from spinenet_tf.evaluation.metrics import MAX_DETECTIONS, METRICS, CocoMetrics, Evaluation

_FEWER = (1, 10)  # detections that COCO counts for AR1 and AR10


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Pause cyclic garbage collection, which takes more than half of the time because every detection is a new row.

    The code in the block creates no cycles.
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
    masks: bool = False,
) -> Evaluation:
    """Evaluate detections on a data set as COCO does, including crowds.

    Each item is one image: `{"image_id": int, "boxes": [M, 4], "scores": [M], "classes": [M]}`, boxes yxyx in pixels
    of the original image; rows of class -1 are padding. Images without an item have no detections. The best
    `max_detections` per class and image count. `slots` is the maximum number of detections per image of the model, if
    limited. With `masks`, an item also has "masks", `M` encoded masks, whose metrics are in the result's `masks`.

    Raises:
        DataError: `masks` is True, and the data set has no masks.
        ValueError: an image id or class is not in the data set, lengths differ, a value is not finite, two images of
            the data set have the same id, or `max_detections` is not larger than the 10 that AR10 counts.
    """
    if max_detections <= _FEWER[-1]:
        raise ValueError(f"`max_detections` must be larger than {_FEWER[-1]}. Received: {max_detections=}")
    from faster_coco_eval import COCO

    if masks:
        check_masks(dataset)
    numbered, numbers_of = _numbered(dataset)
    detections = list(detections)
    truth = COCO(numbered.coco(masks=masks), print_function=_quiet)
    rows = [row for item in detections for row in _numbered_rows(item, numbers_of, numbered.category_ids)]
    measure = partial(_metrics, truth, max_detections=max_detections, class_names=dataset.class_names)
    of_masks = measure(_without_boxes(rows), "segm") if masks else None  # first, since "bbox" changes the rows
    return Evaluation(
        **vars(measure(rows, "bbox")),
        dataset=dataset,
        detections=detections,
        max_detections=max_detections,
        crowded=crowded_images(dataset, max_detections, slots),
        masks=of_masks,
    )


def _metrics(truth: Any, rows: list[dict], kind: str, max_detections: int, class_names: Sequence[str]) -> CocoMetrics:
    """Run COCO's evaluation of one kind of shape, "bbox" or "segm"."""
    from faster_coco_eval import COCOeval_faster

    run = COCOeval_faster(truth, truth.loadRes(rows), iouType=kind, print_function=_quiet)
    run.params.maxDets = [*_FEWER, max_detections]
    run.run()
    numbers: dict[str, Any] = dict(zip(METRICS, map(_defined, run.stats), strict=False))
    precision = _precision(run.eval["precision"])
    per_class = dict(zip(class_names, precision.mean(axis=(0, 1)).tolist(), strict=True))
    return CocoMetrics(**numbers, per_class=per_class, precision=precision)


def _without_boxes(rows: list[dict]) -> list[dict]:
    """Return results with masks alone: where there are boxes, COCO takes the area of a detection from its box."""
    if lacking := [row["image_id"] for row in rows if "segmentation" not in row]:
        raise ValueError(f"Mask AP needs detections with masks. Received: {len(lacking)} detections without masks")
    return [{key: value for key, value in row.items() if key != "bbox"} for row in rows]


def check_masks(dataset: DetectionDataset, all_objects: bool = True) -> None:
    """Check that a data set has masks, of all objects or of any.

    Raises:
        DataError: it has none, or an object lacks its mask.
    """
    if not dataset.has_masks:
        raise DataError(f"{dataset.name}: the data set has boxes but no masks, which instance segmentation needs.")
    for example in dataset if all_objects else ():
        lacking = len(example.boxes) - sum(mask is not None for mask in example.masks or ())
        if lacking:
            raise DataError(
                f"{dataset.name}: mask AP needs a mask of each object. "
                f"Received: image {example.image_id}, where {lacking} of {len(example.boxes)} objects have no mask"
            )


def crowded_images(dataset: DetectionDataset, of_a_class: int, of_an_image: int | None = None) -> int:
    """Count images with more non-crowd objects than detections, per class or in total."""
    labels = (example.classes[example.trainable] for example in dataset)
    return sum(
        bool(own.size and np.bincount(own).max() > of_a_class) or (of_an_image is not None and own.size > of_an_image)
        for own in labels
    )


def _numbered(dataset: DetectionDataset) -> tuple[DetectionDataset, dict[int, int]]:
    """Renumber images and categories 1..N in ascending order of their ids; also return image id -> number.

    The evaluator stores ids as doubles, which cannot tell large ids apart. With tied scores, its result depends on the
    order of the images, which pycocotools sorts by id.
    """
    examples = sorted(dataset, key=lambda example: example.image_id)
    numbers = {example.image_id: number for number, example in enumerate(examples, start=1)}
    if len(numbers) < len(examples):
        twice = next(first.image_id for first, second in pairwise(examples) if first.image_id == second.image_id)
        raise ValueError(f"{dataset.name}: two images have the same id. Received: image_id={twice}")
    renamed = tuple(replace(example, image_id=numbers[example.image_id]) for example in examples)
    categories = tuple(range(1, len(dataset.class_names) + 1))  # AP is a mean over classes in any order
    return replace(dataset, examples=renamed, category_ids=categories), numbers


def _numbered_rows(item: Mapping[str, Any], numbers: Mapping[int, int], category_ids: Sequence[int]) -> list[dict]:
    """Return the COCO results of one image; `numbers` maps image ids to the evaluator's ids."""
    rows, image_id = rows_of(item, category_ids), item["image_id"]
    if image_id not in numbers:
        raise ValueError(f"Detections have an image id that is not in the data set. Received: {image_id=}")
    for row in rows:
        row["image_id"] = numbers[image_id]
    return rows


def _precision(precision: np.ndarray) -> np.ndarray:
    """Select `[IoU, recall, class]` from `[IoU, recall, class, area range, max detections]`, with NaN for COCO's -1."""
    curves = np.asarray(precision)[:, :, :, 0, -1]
    return np.where(curves < 0, np.nan, curves)


def _defined(value: float) -> float:
    return math.nan if value < 0 else float(value)


def _quiet(*_: object) -> None:
    """Discard the evaluator's progress messages."""
