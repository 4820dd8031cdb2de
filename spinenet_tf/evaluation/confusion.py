"""Match objects with detections per image, at one IoU and score threshold, and build a confusion matrix."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from spinenet_tf.data.dataset import Example

IOU = 0.5


@dataclass(frozen=True, eq=False)
class Matches:
    """The P matched pairs of objects and detections of one image; unmatched ones are paired with the background."""

    true: np.ndarray  # [P] classes, or `background`
    found: np.ndarray  # [P] classes, or `background`
    iou: np.ndarray  # [P], 0 for pairs with the background
    background: int  # the number of classes

    @property
    def right(self) -> int:
        """Count the objects that were detected with the correct class."""
        return int((self.true == self.found).sum())

    @property
    def missed(self) -> int:
        """Count the objects that were not detected, or with a wrong class."""
        return int((self.true != self.background).sum()) - self.right

    @property
    def wrong(self) -> int:
        """Count the detections that match no object, or an object of another class."""
        return int((self.found != self.background).sum()) - self.right

    @property
    def error(self) -> float:
        """Return the localization recall precision (LRP) error in 0..1 (Oksuz et al., ECCV 2018).

        It is the mean over all right, missed and wrong cases: `(1 - IoU) / (1 - 0.5)` for right ones, 1 for the others.
        NaN for an image without objects and detections.
        """
        distance = (1 - self.iou[self.true == self.found]).sum() / (1 - IOU)
        total = self.right + self.missed + self.wrong
        return float(distance + self.missed + self.wrong) / total if total else math.nan


def match(example: Example, detections: Mapping[str, Any], background: int, threshold: float) -> Matches:
    """Match the detections of an image that score at least `threshold` with its objects, in descending order of score.

    Each detection takes the unmatched object of any class with the highest IoU, if that is at least `IOU`. As in COCO,
    crowds are not objects, and an unmatched detection is ignored if at least half of it lies in a crowd of its class.
    Masks are compared if both have them, otherwise boxes.
    """
    classes, scores = np.asarray(detections["classes"]), np.asarray(detections["scores"])
    rows = np.flatnonzero((classes >= 0) & (scores >= threshold))
    rows = rows[np.argsort(-scores[rows], kind="stable")]
    overlaps = _overlaps(*_shapes(detections, rows, example), example.crowd)
    free, pairs = ~example.crowd, []
    for label, overlap in zip(classes[rows], overlaps, strict=True):
        near = free & (overlap >= IOU)
        if near.any():
            partner = int(np.argmax(np.where(near, overlap, 0)))
            free[partner] = False
            pairs.append((example.classes[partner], label, overlap[partner]))
        elif not (example.crowd & (example.classes == label) & (overlap >= IOU)).any():
            pairs.append((background, label, 0.0))
    pairs += [(label, background, 0.0) for label in example.classes[free]]
    true, found, iou = np.array(pairs, np.float64).reshape(-1, 3).T
    return Matches(true.astype(int), found.astype(int), iou, background)


def confusion_matrix(matches: Iterable[Matches], classes: int) -> np.ndarray:
    """Count pairs `[classes + 1, classes + 1]`: rows are true classes, columns detected ones, background last."""
    matrix = np.zeros((classes + 1, classes + 1), int)
    for image in matches:
        np.add.at(matrix, (image.true, image.found), 1)
    return matrix


def frequent_confusions(matrix: np.ndarray, most: int) -> list[tuple[int, int, int]]:
    """Return up to `most` confusions of two classes as (true class, detected class, count), most frequent first."""
    mistakes = matrix[:-1, :-1] * ~np.eye(len(matrix) - 1, dtype=bool)
    cells = np.argsort(-mistakes, axis=None, kind="stable")[:most]
    rows = ((*divmod(int(cell), len(mistakes)), int(mistakes.flat[cell])) for cell in cells)
    return [row for row in rows if row[2]]


def _shapes(detections: Mapping[str, Any], rows: np.ndarray, example: Example) -> tuple[Any, Any]:
    """Return the shapes of detections and objects as COCO compares them: encoded masks, or boxes `[N, 4]` xywh."""
    true = [mask for mask in example.masks or () if mask is not None]
    if "masks" in detections and len(true) == len(example.boxes):
        return [detections["masks"][row].rle() for row in rows], [mask.rle() for mask in true]
    return _xywh(np.asarray(detections["boxes"])[rows]), _xywh(example.boxes)


def _overlaps(found: Any, true: Any, crowd: np.ndarray) -> np.ndarray:
    """Return `[M, N]`: the IoU with each object, or for a crowd the fraction of the detection that lies inside it."""
    from faster_coco_eval.core import mask

    overlaps = mask.iou(found, true, crowd.astype(int).tolist())
    return np.asarray(overlaps, np.float64).reshape(len(found), len(true))


def _xywh(boxes: Any) -> np.ndarray:
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    return np.concatenate([boxes[:, [1, 0]], boxes[:, [3, 2]] - boxes[:, [1, 0]]], axis=1)
