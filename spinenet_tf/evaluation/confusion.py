"""What is taken for what: objects and detections in pairs, image by image, at one IoU and one lowest score."""

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
    """The objects and detections of one image in P pairs; who has no partner is paired with the background."""

    true: np.ndarray  # [P] classes, or `background`
    found: np.ndarray  # [P] classes, or `background`
    iou: np.ndarray  # [P], 0 beside the background
    background: int  # the number of classes

    @property
    def right(self) -> int:
        """Count the objects found as what they are."""
        return int((self.true == self.found).sum())

    @property
    def missed(self) -> int:
        """Count the objects that were not found, or as something else."""
        return int((self.true != self.background).sum()) - self.right

    @property
    def wrong(self) -> int:
        """Count the detections of nothing, or of something else."""
        return int((self.found != self.background).sum()) - self.right

    @property
    def error(self) -> float:
        """Return the localization recall precision error in 0..1 (Oksuz et al., ECCV 2018).

        It is the mean over all that was right, missed or wrong: of `(1 - IoU) / (1 - 0.5)` for what was right, of 1 for
        what was not. NaN for an image with no objects in which nothing was found.
        """
        distance = (1 - self.iou[self.true == self.found]).sum() / (1 - IOU)
        total = self.right + self.missed + self.wrong
        return float(distance + self.missed + self.wrong) / total if total else math.nan


def match(example: Example, detections: Mapping[str, Any], background: int, threshold: float) -> Matches:
    """Pair the detections of an image that score at least `threshold` with its objects, the best first.

    Each takes the free object, of whatever class, that it overlaps most, by an IoU of at least `IOU`. As in COCO,
    crowds are no objects, and a detection left over whose box lies by half in a crowd of its own class is dropped.
    """
    classes, scores = np.asarray(detections["classes"]), np.asarray(detections["scores"])
    rows = np.flatnonzero((classes >= 0) & (scores >= threshold))
    rows = rows[np.argsort(-scores[rows], kind="stable")]
    overlaps = _overlaps(np.asarray(detections["boxes"])[rows], example)
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
    """Count pairs: `[classes + 1, classes + 1]` int, true classes down, found ones across, the background last."""
    matrix = np.zeros((classes + 1, classes + 1), int)
    for image in matches:
        np.add.at(matrix, (image.true, image.found), 1)
    return matrix


def frequent_confusions(matrix: np.ndarray, most: int) -> list[tuple[int, int, int]]:
    """Return up to `most` rows (true class, found class, times) of two classes taken for each other, highest first."""
    mistakes = matrix[:-1, :-1] * ~np.eye(len(matrix) - 1, dtype=bool)
    cells = np.argsort(-mistakes, axis=None, kind="stable")[:most]
    rows = ((*divmod(int(cell), len(mistakes)), int(mistakes.flat[cell])) for cell in cells)
    return [row for row in rows if row[2]]


def _overlaps(boxes: np.ndarray, example: Example) -> np.ndarray:
    """Return `[M, N]`: the IoU with each object, and with a crowd the fraction of the detection that lies in it."""
    from faster_coco_eval.core import mask

    found, true = (np.asarray(side, np.float64).reshape(-1, 4) for side in (boxes, example.boxes))
    overlaps = mask.iou(_xywh(found), _xywh(true), example.crowd.astype(int).tolist())
    return np.asarray(overlaps, np.float64).reshape(len(found), len(true))


def _xywh(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes[:, [1, 0]], boxes[:, [3, 2]] - boxes[:, [1, 0]]], axis=1)
