"""Define COCO-style annotations, which all formats are read into, and check and convert them to a data set."""

from __future__ import annotations

import logging
import math
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

import numpy as np

from spinenet_tf.data.dataset import DataError, DetectionDataset, Example, ImageError, ImageFile
from spinenet_tf.data.formats.segmentations import read_mask
from spinenet_tf.data.masks import Mask
from spinenet_tf.data.problems import Place, Problems

logger = logging.getLogger(__name__)

Entry = dict[str, Any]

LARGEST = 2.0**127  # limit of an area, within float32
TOLERANCE = 1.0  # px that a box may exceed its image by rounding


@dataclass(frozen=True, eq=False)
class Annotations:
    """Unchecked images, objects and categories of a source, with the keys of COCO JSON.

    Keys that begin with an underscore are internal to the reader, for `find_image` and `place`. "_mask" is the `Mask`
    of an object without "segmentation".
    """

    name: str
    source: Path  # for messages about the whole data set
    images: list[Entry]
    annotations: list[Entry]
    categories: list[Entry]
    find_image: Callable[[Entry], ImageFile]  # raises DataError
    place: Callable[[str, Entry], Place]  # "image", "annotation" or "category", and the entry
    extra: Entry = field(default_factory=dict)  # other keys of the file, such as "info" and "licenses"


def plain(entry: Entry) -> Entry:
    """Return the entry as in COCO JSON, without the reader's internal keys; "_mask" becomes "segmentation"."""
    own = {key: value for key, value in entry.items() if not key.startswith("_")}
    if not own.get("segmentation") and (mask := mask_of(entry, 0, 0)):
        own["segmentation"] = mask.rle()
    return own


class _Picture(NamedTuple):
    file: ImageFile
    height: int
    width: int


def to_dataset(read: Annotations, problems: Problems | None = None) -> DetectionDataset:
    """Check all entries and convert them to a data set.

    Category ids become classes 0..C-1 in ascending order; a category without objects that is the supercategory of
    another one is not a class. Boxes are clipped to their image; boxes without remaining area (zero size, or entirely
    outside) are dropped and counted in one warning. An object with an invalid segmentation has no mask. Image files are
    not opened.

    Raises:
        DataError: an id is not a 64-bit integer, duplicate or unknown, a name is not text or not unique, a size is not
            positive, or a box is not finite or has a negative size. The message names the file and the entry.
        ImageError: an image is missing, or has more pixels than `problems` allows.

    With `problems.keep_going`, all errors are recorded there, and invalid entries are skipped. With
    `problems.bad_images`, bad images are skipped.
    """
    problems = problems or Problems()
    names = _categories(read, problems)
    pictures = _pictures(read, problems)
    rows = _objects(read, problems, pictures, {key: label for label, key in enumerate(names)})
    masked = any(mask is not None for own in rows.values() for *_, mask in own)
    examples = tuple(_example(key, picture, rows[key], masked) for key, picture in pictures.items() if picture)
    return DetectionDataset(read.name, tuple(names.values()), tuple(names), examples, problems.max_pixels)


def _categories(read: Annotations, problems: Problems) -> dict[int, str]:
    """Return id -> name in ascending id order, without unused supercategories."""
    names: dict[int, str] = {}
    seen: dict[int, None] = {}
    taken: set[str] = set()
    used = {key for entry in read.annotations if is_int64(key := entry.get("category_id"))}
    parents = Counter(parent for entry in read.categories if isinstance(parent := entry.get("supercategory"), str))
    for entry in read.categories:
        with problems.at(place := read.place("category", entry)):
            key, name = _unique_id(entry, "category", seen), entry.get("name")
            seen[key] = None
            if key not in used and isinstance(name, str) and parents[name] > (entry.get("supercategory") == name):
                problems.note(place, f"it has no objects, and is the supercategory of others. Received: {name=}")
                continue
            names[key] = str(name)  # also for an invalid name, since its objects are valid
            is_new = names[key] not in taken
            taken.add(names[key])
            if not _is_text(name) or not is_new:
                raise DataError(f"names must be unique text. Received: name={name!r}")
    if not read.categories:
        with problems.at(Place(read.source)):
            raise DataError("the list 'categories' is empty")
    return dict(sorted(names.items()))


def _pictures(read: Annotations, problems: Problems) -> dict[int, _Picture | None]:
    """Return id -> picture in file order, with None for invalid ones."""
    pictures: dict[int, _Picture | None] = {}
    for entry in read.images:
        with problems.at(read.place("image", entry)):
            key = _unique_id(entry, "image", pictures)
            pictures[key] = None
            height, width = entry.get("height"), entry.get("width")
            if height is None or width is None:  # the reader could not read it from the file: raise the reason
                read.find_image(entry)
            if not (is_int64(height) and is_int64(width) and height > 0 and width > 0):
                raise DataError(f"sizes must be positive integers. Received: {height=}, {width=}")
            if height * width > problems.max_pixels:
                raise ImageError(f"the image has too many pixels; the limit is {problems.max_pixels:,}")
            pictures[key] = _Picture(read.find_image(entry), height, width)
    return pictures


def _objects(
    read: Annotations, problems: Problems, pictures: dict[int, _Picture | None], labels: dict[int, int]
) -> dict[int, list[tuple]]:
    """Return image id -> rows `(box, class, crowd, area, mask)`."""
    rows: dict[int, list[tuple]] = defaultdict(list)
    seen: dict[int, None] = {}
    dropped = 0
    for entry in read.annotations:
        place = read.place("annotation", entry)
        with problems.at(place):
            seen[_unique_id(entry, "annotation", seen)] = None
            image, label = _known(entry, "image_id", pictures), labels[_known(entry, "category_id", labels)]
            picture = pictures[image]
            if picture is None:
                continue
            box = _box(entry, picture, problems, place)
            if box[2] <= box[0] or box[3] <= box[1]:
                dropped += 1
                problems.note(place, f"the box has no area inside its image. Received: bbox={entry['bbox']}")
            else:
                mask = _mask(entry, picture, problems, place)
                rows[image].append((box, label, _crowd(entry), _area(entry, box), mask))
    _warn_of_dropped(dropped, dropped + sum(map(len, rows.values())), Place(read.source), problems)
    return rows


def _warn_of_dropped(dropped: int, total: int, place: Place, problems: Problems) -> None:
    """Warn of dropped boxes; a check, which lists each of them, warns only if they are the majority."""
    message = f"dropped {dropped} boxes with no area inside their image"
    if 2 * dropped > total:
        problems.warn(place, f"{message}: {dropped} of {total}, so they may be in another unit or image")
    elif dropped and not problems.keep_going:
        logger.warning("%s: %s", place, message)


def _box(entry: Entry, picture: _Picture, problems: Problems, place: Place) -> tuple[float, float, float, float]:
    """Convert COCO's `[left, top, width, height]` to yxyx pixels, clipped to the image."""
    xywh = entry.get("bbox")
    if not isinstance(xywh, list) or len(xywh) != 4 or not all(_is_finite(v) for v in xywh):
        raise DataError(f"a box must be four finite numbers. Received: bbox={xywh}")
    x, y, w, h = map(float, xywh)
    if w < 0 or h < 0:
        raise DataError(f"the box has a negative size. Received: bbox={xywh}")
    box = max(y, 0), max(x, 0), min(y + h, picture.height), min(x + w, picture.width)
    over = max(box[0] - y, box[1] - x, y + h - box[2], x + w - box[3])
    if over > TOLERANCE and box[0] < box[2] and box[1] < box[3]:
        size = f"{picture.height} x {picture.width}"
        problems.note(place, f"the box exceeds its image of {size} by {over:.4g} px. Received: bbox={xywh}")
    return box


def _crowd(entry: Entry) -> bool:
    crowd = entry.get("iscrowd", 0)
    if crowd not in (0, 1):
        raise DataError(f"iscrowd must be 0 or 1. Received: iscrowd={crowd!r}")
    return bool(crowd)


def _area(entry: Entry, box: tuple[float, float, float, float]) -> float:
    area = entry.get("area", (box[2] - box[0]) * (box[3] - box[1]))
    if not _is_finite(area) or not 0 <= area < LARGEST:
        raise DataError(f"the area must be a finite number of at least 0. Received: area={area!r}")
    return area


def mask_of(entry: Entry, height: int, width: int) -> Mask | None:
    """Return the mask of an object in an image of this size, or None if it has none.

    Raises:
        DataError: the segmentation is invalid.
    """
    if segmentation := entry.get("segmentation"):
        return read_mask(segmentation, (height, width))
    own = entry.get("_mask")
    return own if own is not None and isinstance(own, Mask) else None


def _mask(entry: Entry, picture: _Picture, problems: Problems, place: Place) -> Mask | None:
    """Return the object's mask; an invalid one is left out and noted, since the box is valid."""
    try:
        return mask_of(entry, picture.height, picture.width)
    except DataError as error:
        problems.note(place, f"its mask is left out: {error}")
        return None


def _example(image_id: int, picture: _Picture, rows: list[tuple], masked: bool) -> Example:
    boxes, classes, crowd, area, masks = zip(*rows, strict=True) if rows else ((), (), (), (), ())
    return Example(
        image_id,
        *picture,
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        classes=np.array(classes, np.int32),
        crowd=np.array(crowd, np.bool_),
        area=np.array(area, np.float32),
        masks=masks if masked else None,
    )


def _unique_id(entry: Entry, noun: str, seen: dict) -> int:
    key = entry.get("id")
    if not is_int64(key):
        raise DataError(f"{noun} ids must be integers. Received: id={key!r}")
    if key in seen:
        raise DataError("the id is used twice")
    return key


def _known(entry: Entry, name: str, known: dict) -> int:
    value = entry.get(name)
    if not is_int64(value) or value not in known:
        raise DataError(f"unknown {name}. Received: {name}={value!r}")
    return value


def is_int64(value: object) -> TypeGuard[int]:
    """Return whether a value is an integer of at most 64 bits."""
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def _is_finite(value: object) -> TypeGuard[float]:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer too large for a float
        return False


def _is_text(value: object) -> TypeGuard[str]:
    """Return whether a value is non-empty text that can be encoded: JSON may contain half of a surrogate pair."""
    return isinstance(value, str) and bool(value) and value.encode(errors="ignore").decode() == value
