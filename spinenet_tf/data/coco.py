"""Read COCO JSON annotations, trusting nothing in them."""

from __future__ import annotations

import json
import logging
import math
from collections import defaultdict
from numbers import Real
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TypeGuard

import numpy as np

from spinenet_tf.data.dataset import DataError, DetectionDataset, Example

logger = logging.getLogger(__name__)


def read_coco(annotations: str | Path, images: str | Path) -> DetectionDataset:
    """Read a COCO annotation file and the folder that holds its images.

    Category ids become classes 0..C-1 in ascending order. Boxes are clipped to their image; those with no area left
    (zero size, or wholly outside) are dropped and counted in one warning. Images themselves are not opened.

    Raises:
        DataError: naming the file and the annotation, image or category at fault: a missing or unreadable file,
            JSON that is not COCO, duplicate or unknown ids, NaN or negative boxes, and file names that are missing
            from the image folder or lead out of it.
    """
    annotations, images = Path(annotations), Path(images)
    content = _load(annotations)
    if not images.is_dir():
        raise DataError(f"The image folder does not exist. Received: images={images}")
    try:
        names = _categories(content["categories"])
        pictures = _images(content["images"], images)
        rows, dropped = _objects(content["annotations"], pictures, {c: i for i, c in enumerate(names)})
    except DataError as error:
        raise DataError(f"{annotations}: {error}") from None
    if dropped:
        logger.warning("%s: dropped %d boxes with no area inside their image", annotations, dropped)
    examples = tuple(_example(i, *picture, rows[i]) for i, picture in pictures.items())
    return DetectionDataset(annotations.stem, tuple(names.values()), tuple(names), examples)


def _load(path: Path) -> dict:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not a JSON file ({error})") from None
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise DataError(f"{path}: not a COCO file: it has no list named '{key}'")
        if not all(isinstance(entry, dict) for entry in content[key]):
            raise DataError(f"{path}: not a COCO file: '{key}' holds something that is not an object")
    return content


def _categories(entries: list[dict]) -> dict[int, str]:
    """Return id -> name in ascending id order."""
    names: dict[int, str] = {}
    for entry in entries:
        key = _unique_id(entry, "category", names)
        name = entry.get("name")
        if not isinstance(name, str) or not name or name in names.values():
            raise DataError(f"category {key}: names must be text, and unique. Received: name={name!r}")
        names[key] = name
    if not names:
        raise DataError("the list 'categories' is empty")
    return dict(sorted(names.items()))


def _images(entries: list[dict], folder: Path) -> dict[int, tuple[Path, int, int]]:
    """Return id -> (path, height, width) in file order."""
    pictures: dict[int, tuple[Path, int, int]] = {}
    root = folder.resolve()
    for entry in entries:
        key = _unique_id(entry, "image", pictures)
        height, width = entry.get("height"), entry.get("width")
        if not (_is_int(height) and _is_int(width) and height > 0 and width > 0):
            raise DataError(f"image {key}: sizes must be positive integers. Received: {height=}, {width=}")
        pictures[key] = (_inside(root, entry.get("file_name"), key), height, width)
    return pictures


def _inside(root: Path, name: object, image_id: int) -> Path:
    """Return the file `name` of the folder `root`, refusing every way out of that folder."""
    if not isinstance(name, str) or not name or "\0" in name:
        raise DataError(f"image {image_id}: has no usable file name. Received: file_name={name!r}")
    # Both flavours, so that a file is refused or accepted alike on every system.
    flavours = (PurePosixPath(name), PureWindowsPath(name))
    path = (root / name).resolve()
    if any(p.anchor or ".." in p.parts for p in flavours) or not path.is_relative_to(root):
        raise DataError(f"image {image_id}: the file name leads out of the image folder. Received: file_name={name!r}")
    if not path.is_file():
        raise DataError(f"image {image_id}: the image folder has no such file. Received: file_name={name!r}")
    return path


def _objects(
    entries: list[dict], pictures: dict[int, tuple[Path, int, int]], labels: dict[int, int]
) -> tuple[dict[int, list[tuple]], int]:
    """Return image id -> rows `(box, class, crowd, area)`, and how many boxes had no area."""
    rows: dict[int, list[tuple]] = defaultdict(list)
    seen: dict[int, None] = {}
    dropped = 0
    for entry in entries:
        key = _unique_id(entry, "annotation", seen)
        seen[key] = None
        image, category = _known(entry, "image_id", pictures, key), _known(entry, "category_id", labels, key)
        box = _box(entry, key, *pictures[image][1:])
        if box[2] <= box[0] or box[3] <= box[1]:
            dropped += 1
        else:
            rows[image].append((box, labels[category], _crowd(entry, key), _area(entry, key, box)))
    return rows, dropped


def _box(entry: dict, key: int, height: int, width: int) -> tuple[float, float, float, float]:
    """Return COCO's `[left, top, width, height]` as yxyx pixels, clipped to the image."""
    xywh = entry.get("bbox")
    if not isinstance(xywh, list) or len(xywh) != 4 or not all(_is_finite(v) for v in xywh):
        raise DataError(f"annotation {key}: a box is four finite numbers. Received: bbox={xywh}")
    x, y, w, h = xywh
    if w < 0 or h < 0:
        raise DataError(f"annotation {key}: the box has a negative size. Received: bbox={xywh}")
    return max(y, 0), max(x, 0), min(y + h, height), min(x + w, width)


def _crowd(entry: dict, key: int) -> bool:
    crowd = entry.get("iscrowd", 0)
    if crowd not in (0, 1):
        raise DataError(f"annotation {key}: iscrowd is 0 or 1. Received: iscrowd={crowd!r}")
    return bool(crowd)


def _area(entry: dict, key: int, box: tuple[float, float, float, float]) -> float:
    area = entry.get("area", (box[2] - box[0]) * (box[3] - box[1]))
    if not _is_finite(area) or area < 0:
        raise DataError(f"annotation {key}: the area is a finite number, not negative. Received: area={area!r}")
    return area


def _example(image_id: int, path: Path, height: int, width: int, rows: list[tuple]) -> Example:
    boxes, classes, crowd, area = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Example(
        image_id,
        path,
        height,
        width,
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        classes=np.array(classes, np.int32),
        crowd=np.array(crowd, np.bool_),
        area=np.array(area, np.float32),
    )


def _unique_id(entry: dict, noun: str, seen: dict) -> int:
    key = entry.get("id")
    if not _is_int(key):
        raise DataError(f"not a COCO file: {noun} ids are integers. Received: id={key!r}")
    if key in seen:
        raise DataError(f"{noun} {key}: the id is used twice")
    return key


def _known(entry: dict, name: str, known: dict, key: int) -> int:
    value = entry.get(name)
    if not _is_int(value) or value not in known:
        raise DataError(f"annotation {key}: unknown {name}. Received: {name}={value!r}")
    return value


def _is_int(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(value: object) -> TypeGuard[float]:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
