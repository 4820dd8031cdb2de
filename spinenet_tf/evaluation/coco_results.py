"""Write detections in COCO's results format, which pycocotools and other tools read."""

from __future__ import annotations

import json
import operator
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from spinenet_tf._files.writing import write_whole
from spinenet_tf.data.masks import Mask

_MOST = 1 << 31  # classes, if there are no category ids to count


def result_rows(
    image_id: Any,
    boxes: Any,
    scores: Any,
    classes: Any,
    category_ids: Sequence[int] | None = None,
    masks: Sequence[Mask] | None = None,
) -> list[dict[str, Any]]:
    """Return the detections of one image as COCO results: {"image_id", "category_id", "bbox", "score"} each.

    `boxes` `[M, 4]` are yxyx in pixels of the image; "bbox" is `[left, top, width, height]`. `scores` are `[M]`.
    `classes` `[M]` are numbers from 0; rows of class -1 are padding and left out. "category_id" is the class's entry in
    `category_ids`, or without them class + 1. With `masks`, one per row, "segmentation" is a compressed RLE.

    Raises:
        ValueError: the image id is not an integer, lengths differ, a box or score is not finite, or a class is not a
            whole number or out of range.
    """
    image_id = _whole(image_id)
    boxes, scores = np.asarray(boxes, np.float64).reshape(-1, 4), np.asarray(scores, np.float64)
    classes = np.asarray(classes)
    columns = {"boxes": boxes, "scores": scores, "classes": classes} | ({} if masks is None else {"masks": masks})
    if len({*map(len, columns.values())}) > 1:
        lengths = ", ".join(f"{len(column)} {name}" for name, column in columns.items())
        raise ValueError(f"image {image_id}: {' and '.join(columns)} differ in length. Received: {lengths}")
    kept = classes != -1
    boxes, scores, classes = boxes[kept], scores[kept], classes[kept]
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise ValueError(f"image {image_id}: boxes and scores must be finite")
    ids = _category_ids(image_id, classes, category_ids)
    sides = boxes[:, [1, 0, 3, 2]] - boxes[:, [1, 0, 1, 0]] * [0, 0, 1, 1]
    rows = [
        {"image_id": image_id, "category_id": id, "bbox": bbox, "score": score}
        for id, bbox, score in zip(ids, sides.tolist(), scores.tolist(), strict=True)
    ]
    if masks is None:
        return rows
    own = (mask for mask, is_kept in zip(masks, kept.tolist(), strict=True) if is_kept)
    return [row | {"segmentation": mask.rle()} for row, mask in zip(rows, own, strict=True)]


def rows_of(item: Mapping[str, Any], category_ids: Sequence[int]) -> list[dict[str, Any]]:
    """Return the `result_rows` of one image, an item of `average_precision.evaluate`."""
    columns = item["boxes"], item["scores"], item["classes"]
    return result_rows(item["image_id"], *columns, category_ids, item.get("masks"))


def write_results(path: str | os.PathLike, rows: Iterable[dict[str, Any]], *, overwrite: bool = True) -> None:
    """Write COCO results to a JSON file, atomically.

    The file has a list of all `rows`. pycocotools cannot read an empty list.

    Raises:
        FileExistsError, FileNotFoundError, WriteError: see `writing.staged`.
    """
    write_whole(path, json.dumps(list(rows), allow_nan=False), overwrite=overwrite)


def _whole(image_id: Any) -> int:
    """Convert an id of any integer type to int; reject floats, which may have lost digits."""
    try:
        return operator.index(image_id)
    except TypeError:
        raise ValueError(f"image ids must be integers. Received: {image_id=}") from None


def _category_ids(image_id: int, classes: np.ndarray, category_ids: Sequence[int] | None) -> list[int]:
    count = _MOST if category_ids is None else len(category_ids)
    if not ((np.floor(classes) == classes) & (classes >= 0) & (classes < count)).all():
        raise ValueError(f"image {image_id}: classes must be 0..{count - 1}. Received: {np.unique(classes)}")
    labels = classes.astype(int).tolist()
    return [label + 1 if category_ids is None else int(category_ids[label]) for label in labels]
