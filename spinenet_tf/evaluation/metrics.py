"""Define COCO's 12 metrics, of boxes or of masks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

# In the order of COCO's summary.
METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
MAX_DETECTIONS = 100  # that COCO counts per class and image


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


def labels(max_detections: int) -> dict[str, str]:
    """Return the display name of each of `METRICS`, such as "AP", or "AP@300" if 300 detections count."""
    if max_detections == MAX_DETECTIONS:
        return dict(zip(METRICS, METRICS, strict=True))
    same = {"AR1": "AR1", "AR10": "AR10", "AR100": f"AR{max_detections}"}
    return {name: f"{name}@{max_detections}" for name in METRICS} | same


def without_nan(numbers: Mapping[str, float]) -> dict[str, float]:
    """Return the numbers that are defined."""
    return {name: value for name, value in numbers.items() if not math.isnan(value)}


def as_json(numbers: Mapping[str, float]) -> dict[str, Any]:
    """Return the numbers with None for NaN, which JSON does not have."""
    return {name: None if math.isnan(value) else value for name, value in numbers.items()}
