"""Define COCO's 12 metrics of boxes and of masks, and the result of an evaluation."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from spinenet_tf.data.dataset import DetectionDataset
from spinenet_tf.evaluation.coco_results import rows_of, write_results

# In the order of COCO's summary.
METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
MAX_DETECTIONS = 100  # that COCO counts per class and image
_MASK = "mask_"  # begins the names of the metrics of masks, as in TF Model Garden


@dataclass(frozen=True)
class CocoMetrics:
    """The 12 COCO metrics in 0..1, with AP and precision-recall curves per class; NaN without ground truth."""

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

    def numbers(self) -> dict[str, float]:
        """Return the 12 metrics by name."""
        return {name: getattr(self, name) for name in METRICS}


@dataclass(frozen=True)
class Evaluation(CocoMetrics):
    """COCO's metrics of the boxes, and those of the masks in `masks` if the task is instance segmentation.

    They equal COCO's if `max_detections` is `MAX_DETECTIONS`. `detections` are those that were evaluated, one item per
    image as in `evaluate`, with the class numbers of `dataset`.
    """

    dataset: DetectionDataset = field(repr=False, compare=False)
    detections: Sequence[Mapping[str, Any]] = field(repr=False, compare=False)
    model: str = "model"  # its name or path, for the report
    max_detections: int = MAX_DETECTIONS  # counted per class and image, also for "AR100"
    crowded: int = 0  # number of images with more objects than counted detections: see `crowded_images`
    masks: CocoMetrics | None = None

    @property
    def mask_AP(self) -> float:
        """AP of the masks, `masks.AP`.

        Raises:
            AttributeError: masks were not evaluated.
        """
        if self.masks is None:
            raise AttributeError("The evaluation has no mask AP, because its model has no masks.")
        return self.masks.AP

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

    @property
    def shapes(self) -> dict[str, CocoMetrics]:
        """Return the metrics of each kind of shape that was evaluated: "boxes", and "masks" if there are any."""
        return {"boxes": self} | ({} if self.masks is None else {"masks": self.masks})

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

        Detections with masks have "segmentation" beside "bbox". With both, pycocotools takes the area of a detection
        from its box: for its mask metrics by size (APs, APm, APl, ARs, ARm, ARl), remove "bbox" first.

        Raises:
            FileExistsError, FileNotFoundError, WriteError: see `writing.staged`.
        """
        rows = (row for item in self.detections for row in rows_of(item, self.dataset.category_ids))
        write_results(path, rows, overwrite=overwrite)

    def to_log(self) -> dict[str, float]:
        """Return the metrics that training logs, without NaN; those of masks are named "mask_AP" and so on."""
        masks = {} if self.masks is None else {f"{_MASK}{name}": x for name, x in self.masks.numbers().items()}
        return _without_nan(self.numbers() | masks)

    def to_dict(self) -> dict:
        """Return label -> metric as JSON-compatible values, with None for NaN; those of masks begin with "mask_"."""
        limit = {} if self.is_coco else {"max_detections": self.max_detections}
        masks = {} if self.masks is None else {f"{_MASK}{key}": x for key, x in self._dict_of(self.masks).items()}
        return self._dict_of(self) | masks | limit

    def _dict_of(self, metrics: CocoMetrics) -> dict[str, Any]:
        numbers = {label: getattr(metrics, name) for name, label in self.labels.items()}
        return _as_json(numbers) | {"per_class": _as_json(metrics.per_class)}


def _without_nan(numbers: Mapping[str, float]) -> dict[str, float]:
    """Return the numbers that are defined."""
    return {name: value for name, value in numbers.items() if not math.isnan(value)}


def _as_json(numbers: Mapping[str, float]) -> dict[str, Any]:
    """Return the numbers with None for NaN, which JSON does not have."""
    return {name: None if math.isnan(value) else value for name, value in numbers.items()}
