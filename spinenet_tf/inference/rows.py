"""Convert the results of a model to the rows of JSON files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from spinenet_tf._files.messages import some_of
from spinenet_tf.data.dataset import DataError
from spinenet_tf.data.formats.coco_ids import CocoIds
from spinenet_tf.inference.classification import Classification
from spinenet_tf.inference.detections import Detections

Row = dict[str, Any]
RowOf = Callable[[str, Any], Row]  # (name of the image, result) -> row


def detection_row(name: str, found: Detections) -> Row:
    """Return all detections in an image: boxes yxyx in its pixels, masks as COCO's compressed RLE."""
    columns = (found.names, found.scores.tolist(), found.boxes.tolist())
    rows: list[Row] = [
        {"class": label, "score": round(score, 4), "box": [round(side, 2) for side in box]}
        for label, score, box in zip(*columns, strict=True)
    ]
    for row, mask in zip(rows, found.encoded_masks or (), strict=False):
        row["mask"] = mask.rle()
    return {"image": name, "size": list(found.image.shape[:2]), "detections": rows}


def class_row(name: str, found: Classification) -> Row:
    """Return the likeliest classes of an image, the best first."""
    return {"image": name, "classes": [{"class": label, "score": round(score, 4)} for label, score in found.top()]}


class CocoRows:
    """Convert detections to COCO results with the ids of an annotation file, found by the names of files.

    Raises:
        DataError: the annotation file is not COCO, does not have each image exactly once, or has none of the classes;
            or two images have the same file name.
    """

    def __init__(self, annotations: Path, names: Sequence[str], class_names: Sequence[str]):
        ids, files = CocoIds(annotations), [Path(name).name for name in names]
        if twice := [file for file, count in Counter(files).items() if count > 1]:
            raise DataError(f"COCO results need each file name once. Received in several folders: {some_of(twice)}")
        self._images = dict(zip(names, ids.of_images(files), strict=True))
        self._categories = ids.of_classes(class_names)

    def __call__(self, name: str, found: Detections) -> Row:
        """Return the COCO results of an image, and by class how many have no category in the file and are left out."""
        known = np.array([self._categories[label] is not None for label in found.classes.tolist()], bool)
        category_ids = tuple(-1 if number is None else number for number in self._categories)
        results = replace(found[known], category_ids=category_ids).to_coco(self._images[name])
        return {"image": name, "results": results, "left_out": Counter(found[~known].names)}
