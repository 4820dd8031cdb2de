"""Compute COCO's average precision with faster-coco-eval."""

from __future__ import annotations

import gc
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from spinenet_tf.data.dataset import DetectionDataset
from spinenet_tf.evaluation.coco_results import result_rows, write_results

# In the order of COCO's summary.
METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
MAX_DETECTIONS = 100  # that COCO counts per class and image
_FEWER = (1, 10)  # that COCO counts for AR1 and AR10


@dataclass(frozen=True)
class Evaluation:
    """The 12 COCO metrics in 0..1, with AP and precision-recall curves per class; NaN without ground truth.

    They equal COCO's if `max_detections` is `MAX_DETECTIONS`. `detections` are those that were evaluated, one item per
    image as in `evaluate`, with the class numbers of `dataset`.
    """

    AP: float  # mean over IoU 0.50:0.05:0.95
    AP50: float
    AP75: float
    APs: float  # objects under 32 x 32 px in the original image
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
    dataset: DetectionDataset = field(repr=False, compare=False)
    detections: Sequence[Mapping[str, Any]] = field(repr=False, compare=False)
    model: str = "model"  # its name or path, for the report
    max_detections: int = MAX_DETECTIONS  # counted per class and image, also for "AR100"
    crowded: int = 0  # number of images with more objects than counted detections: see `crowded_images`

    @property
    def is_coco(self) -> bool:
        """Return whether the metrics are comparable with other COCO results."""
        return self.max_detections == MAX_DETECTIONS

    @property
    def labels(self) -> dict[str, str]:
        """Return the display name of each of `METRICS`, such as "AP", or "AP@300" if 300 detections count."""
        if self.is_coco:
            return dict(zip(METRICS, METRICS, strict=True))
        same = {"AR1": "AR1", "AR10": "AR10", "AR100": f"AR{self.max_detections}"}
        return {name: f"{name}@{self.max_detections}" for name in METRICS} | same

    def remarks(self) -> list[str]:
        """Return caveats to show with the metrics."""
        found = []
        if not self.is_coco:
            found.append(f"COCO counts {MAX_DETECTIONS} detections, these metrics {self.max_detections}.")
        if self.crowded:
            found.append(
                f"Images with more objects than counted detections: {self.crowded}. To count more detections, use "
                "evaluate --max-detections."
            )
        return found

    def report(self, folder: str | os.PathLike, *, threshold: float = 0.3, overwrite: bool = False) -> Path:
        """Write an HTML report to the folder, and return the path of its page: see `report.write_report`."""
        from spinenet_tf.evaluation.report import write_report

        return write_report(folder, self, threshold=threshold, overwrite=overwrite)

    def save_detections(self, path: str | os.PathLike, *, overwrite: bool = False) -> None:
        """Write all detections to a JSON file in COCO's results format, with the ids of the data set.

        Raises:
            FileExistsError, FileNotFoundError, WriteError: see `writing.staged`.
        """
        rows = (row for item in self.detections for row in _rows(item, self.dataset.category_ids))
        write_results(path, rows, overwrite=overwrite)

    def to_log(self) -> dict[str, float]:
        """Return the metrics that training logs, without NaN."""
        numbers = {name: getattr(self, name) for name in METRICS}
        return {name: value for name, value in numbers.items() if not math.isnan(value)}

    def to_dict(self) -> dict:
        """Return label -> metric as JSON-compatible values, with None for NaN."""
        numbers = {label: _json(getattr(self, name)) for name, label in self.labels.items()}
        limit = {} if self.is_coco else {"max_detections": self.max_detections}
        return numbers | {"per_class": {name: _json(value) for name, value in self.per_class.items()}} | limit


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
) -> Evaluation:
    """Evaluate detections on a data set as COCO does, including crowds.

    Each item is one image: `{"image_id": int, "boxes": [M, 4], "scores": [M], "classes": [M]}`, boxes yxyx in pixels
    of the original image; rows of class -1 are padding. Images without an item have no detections. The best
    `max_detections` per class and image count. `slots` is the maximum number of detections per image of the model, if
    limited.

    Raises:
        ValueError: an image id or class is not in the data set, lengths differ, a value is not finite, two images of
            the data set have the same id, or `max_detections` is not larger than the 10 that AR10 counts.
    """
    if max_detections <= _FEWER[-1]:
        raise ValueError(f"`max_detections` must be larger than {_FEWER[-1]}. Received: {max_detections=}")
    from faster_coco_eval import COCO, COCOeval_faster

    numbered, numbers_of = _numbered(dataset)
    detections = list(detections)
    truth = COCO(numbered.coco(masks=False), print_function=_quiet)
    rows = [row for item in detections for row in _numbered_rows(item, numbers_of, numbered.category_ids)]
    run = COCOeval_faster(truth, truth.loadRes(rows), iouType="bbox", print_function=_quiet)
    run.params.maxDets = [*_FEWER, max_detections]
    run.run()
    numbers: dict[str, Any] = dict(zip(METRICS, map(_defined, run.stats), strict=False))
    precision = _precision(run.eval["precision"])
    return Evaluation(
        **numbers,
        per_class=dict(zip(dataset.class_names, precision.mean(axis=(0, 1)).tolist(), strict=True)),
        precision=precision,
        dataset=dataset,
        detections=detections,
        max_detections=max_detections,
        crowded=crowded_images(dataset, max_detections, slots),
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


def _rows(item: Mapping[str, Any], category_ids: Sequence[int]) -> list[dict[str, Any]]:
    return result_rows(item["image_id"], item["boxes"], item["scores"], item["classes"], category_ids)


def _numbered_rows(item: Mapping[str, Any], numbers: Mapping[int, int], category_ids: Sequence[int]) -> list[dict]:
    """Return the COCO results of one image; `numbers` maps image ids to the evaluator's ids."""
    rows, image_id = _rows(item, category_ids), item["image_id"]
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


def _json(value: float) -> float | None:
    return None if math.isnan(value) else value


def _quiet(*_: object) -> None:
    """Discard the evaluator's progress messages."""
