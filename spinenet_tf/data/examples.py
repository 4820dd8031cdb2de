"""Check the examples of a data set that was made in Python; those of files are checked while they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from spinenet_tf.data.dataset import ClassificationExample, DataError, Example
from spinenet_tf.data.problems import Place, Problems


def valid_examples(dataset: Any, problems: Problems) -> Any:
    """Return a data set of any task without its invalid examples, which are reported to `problems`."""
    kept = []
    for index, example in enumerate(dataset):
        with problems.at(Place(Path(dataset.name), f"example {index}")):
            if isinstance(example, ClassificationExample):
                _check_label(example, len(dataset.class_names))
            else:
                _check_objects(example, len(dataset.class_names))
            kept.append(index)
    return dataset.take(kept)


def _check_label(example: ClassificationExample, classes: int) -> None:
    if not 0 <= example.label < classes:
        raise DataError(f"the label must be 0 to {classes - 1}. Received: label={example.label}")


def _check_masks(example: Example) -> None:
    if example.masks is None:
        return
    if (rows := len(example.masks)) != len(example.boxes):
        raise DataError(f"there must be one mask or None per box. Received: {rows} masks, {len(example.boxes)} boxes")
    size = example.height, example.width
    for mask in example.masks:
        if mask is not None and (mask.height, mask.width) != size:
            raise DataError(
                f"masks must be of the {size[0]} x {size[1]} image. Received: a mask of {mask.height} x {mask.width}"
            )


def _check_objects(example: Example, classes: int) -> None:
    rows = {len(column) for column in (example.boxes, example.classes, example.crowd, example.area)}
    if len(rows) > 1 or np.shape(example.boxes)[1:] != (4,):
        raise DataError(
            "boxes must be [N, 4], and classes, crowd and area [N]. Received: "
            f"{np.shape(example.boxes)}, {len(example.classes)}, {len(example.crowd)} and {len(example.area)} rows"
        )
    if len(other := np.setdiff1d(example.classes, np.arange(classes))):
        raise DataError(f"classes must be 0 to {classes - 1}. Received: {other[0]}")
    height, width, corners = example.height, example.width, example.boxes
    inside = (corners >= 0) & (corners <= [height, width, height, width])
    valid = inside.all(axis=1) & (corners[:, :2] < corners[:, 2:]).all(axis=1)
    if not valid.all():
        box = corners[np.argmin(valid)].tolist()
        raise DataError(f"boxes must be yxyx in pixels inside the {height} x {width} image. Received: {box}")
    _check_masks(example)
