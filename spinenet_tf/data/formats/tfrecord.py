"""Read TFRecord files in TF Model Garden's schema, with one `tf.train.Example` per image.

The schema has float32 coordinates relative to the stored pixels, before EXIF orientation, and no annotation ids. To
restore COCO without loss, records of `tfrecord_writer` also have the COCO entries, of the upright image, as JSON in
`image/coco`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import tensorflow as tf

from spinenet_tf.data.dataset import DataError, DetectionDataset, ImageError, ImageFile
from spinenet_tf.data.files import file_in
from spinenet_tf.data.formats.annotations import Annotations, Entry, is_int64, plain, to_dataset
from spinenet_tf.data.formats.coco import read_json
from spinenet_tf.data.formats.label_map import LABEL_MAP, read_label_map
from spinenet_tf.data.formats.mask_images import MaskImage, png_size
from spinenet_tf.data.formats.shards import Record, records, shard_files
from spinenet_tf.data.images import Stored, may_be_turned, read_stored
from spinenet_tf.data.orientation import UPRIGHT, turned_size, upright_boxes
from spinenet_tf.data.problems import Place, Problems

logger = logging.getLogger(__name__)

CATEGORIES = "categories.json"  # beside the shards: the COCO file without images and annotations
SIDES = tuple(f"image/object/bbox/{side}" for side in ("ymin", "xmin", "ymax", "xmax"))
LABEL, TEXT = "image/object/class/label", "image/object/class/text"
CROWD, AREA, MASK = "image/object/is_crowd", "image/object/area", "image/object/mask"
COCO = "image/coco"

_INTEGER = re.compile(r"-?[0-9]{1,19}")  # 64 bits or slightly more
_UPRIGHT = "boxes are read in pixels of the upright image, but the schema defines them in stored pixels"


def read_tfrecord(
    path: str | Path, categories: str | Path | None = None, problems: Problems | None = None
) -> DetectionDataset:
    """Read sharded TFRecord files in TF Model Garden's schema into a data set: see `to_dataset`.

    `path` is a file, a folder, a pattern such as `train-*`, or the part before `-00000-of-00010`. Category ids are the
    records' `image/object/class/label`. Category names come from the file `categories` (a label map `*.pbtxt`, or JSON
    with the list `categories`, as in COCO), otherwise from `categories.json` or `label_map.pbtxt` beside the shards,
    otherwise from the records. Image ids are the records' `image/source_id` if all are integers, otherwise they count
    from 1.

    Raises:
        DataError: as `to_dataset` does, or a shard is missing, a link leads out of the folder, a record is corrupt
            (all checksums are verified) or does not follow the schema, or its class names contradict the list of
            categories. The message names the file and the record.
    """
    return to_dataset(load_tfrecord(path, categories, problems), problems)


def load_tfrecord(
    path: str | Path, categories: str | Path | None = None, problems: Problems | None = None
) -> Annotations:
    """Read TFRecord files, without checking their entries; raises as `read_tfrecord` does."""
    files, problems = shard_files(path), problems or Problems()
    images: list[Entry] = []
    objects: list[list[Entry]] = []
    for record in (record for file in files for record in records(file, problems)):
        with problems.at(record.place):
            image, found = _entries(record, problems)
            images.append(image)
            objects.append(found)
    upright = sum(image["_upright"] for image in images)
    if upright and not problems.keep_going:
        logger.warning("%s: %d of %d records: %s", path, upright, len(images), _UPRIGHT)
    annotations = _number(images, objects)
    categories = categories or file_in(files[0].parent, CATEGORIES, LABEL_MAP)
    if categories:
        content = _listed(Path(categories))
        _check_names(annotations, content["categories"], Path(categories), problems)
    else:
        content = {"categories": _named(annotations, problems)}
    return Annotations(
        name=files[0].name.split("-00000-of-")[0].removesuffix(".tfrecord"),
        source=Path(path),
        images=images,
        annotations=annotations,
        categories=content.pop("categories"),
        find_image=lambda entry: entry["_file"],
        place=lambda noun, entry: entry.get("_at") or Place(Path(categories or path), f"{noun} {entry.get('id')}"),
        extra=content,
    )


class Features:
    """The features of one record by key; empty if the key is missing or has another type."""

    def __init__(self, record: bytes) -> None:
        try:
            self._features = tf.train.Example.FromString(record).features.feature
        except Exception as error:  # protobuf's DecodeError, which TensorFlow does not export
            raise DataError(f"not a tf.train.Example ({error})") from None

    def ints(self, key: str) -> list[int]:
        return list(self._features[key].int64_list.value) if key in self._features else []

    def floats(self, key: str) -> list[float]:
        return list(self._features[key].float_list.value) if key in self._features else []

    def bytes(self, key: str) -> list[bytes]:
        return list(self._features[key].bytes_list.value) if key in self._features else []

    def texts(self, key: str) -> list[str]:
        try:
            return [text.decode() for text in self.bytes(key)]
        except UnicodeDecodeError:
            raise DataError(f"{key} is not UTF-8") from None


def encoded_image(features: Features, key: str) -> bytes:
    """Return the encoded image of a record; raise DataError if there is not exactly one."""
    values = features.bytes(key)
    if len(values) != 1 or not values[0]:
        raise DataError(f"it must have exactly one {key}")
    return values[0]


def _entries(record: Record, problems: Problems) -> tuple[Entry, list[Entry]]:
    """Return the entries of one image and its objects, without ids that depend on the whole data set."""
    features = Features(record.content)
    encoded = encoded_image(features, "image/encoded")
    name = "".join(features.texts("image/filename"))
    file = record.image(encoded, PurePath(name).name)
    sizes = features.ints("image/height"), features.ints("image/width")
    size = (sizes[0][0], sizes[1][0]) if len(sizes[0]) == len(sizes[1]) == 1 else None
    stored = _stored(encoded, file, size, problems.max_pixels)
    height, width = size or stored[:2]
    coco_image, coco_objects, digest = _coco_entries(features)
    objects = _objects(features, height, width)
    turned = turned_entries(objects, Stored(height, width, stored.orientation))
    upright = _is_upright(size, stored, coco_objects, objects, turned)
    if upright:
        problems.note(record.place, _UPRIGHT)
    else:
        height, width = turned_size(height, width, stored.orientation)
        objects = turned
    image = {"file_name": name, "height": height, "width": width, "_at": record.place, "_file": file}
    image |= {"_source": "".join(features.texts("image/source_id")), "_upright": upright}
    if _agree(coco_objects, objects):
        objects = [coco | {"_text": row["_text"]} for coco, row in zip(coco_objects, objects, strict=True)]
    if (pngs := features.bytes(MASK)) and mask_digest(pngs) != digest:
        turn = Stored(height, width, UPRIGHT if upright else stored.orientation)
        objects = _with_masks(objects, pngs, record, turn, problems)
    return coco_image | image, objects


def _with_masks(objects: list[Entry], pngs: list[bytes], record: Record, image: Stored, problems: Problems) -> list:
    """Return objects with their masks as PNG in place of a segmentation; `image` has the upright size."""
    if len(pngs) != len(objects):
        raise DataError(f"its features differ in length. Received: {LABEL}={len(objects)}, {MASK}={len(pngs)}")
    masked = []
    for k, (entry, png) in enumerate(zip(objects, pngs, strict=True)):
        entry = {key: value for key, value in entry.items() if key != "segmentation"}
        size, expected = png_size(png), turned_size(image.height, image.width, image.orientation)
        if size == expected:
            entry["_mask"] = MaskImage(image.height, image.width, record.image(png, f"{k}.png"), image.orientation)
        elif png:
            fault = f"its mask is left out: it must be PNG of {expected[0]} x {expected[1]} pixels. Received: {size}"
            problems.note(Place(record.file, f"{record.place.entry}, object {k}"), fault)
        masked.append(entry)
    return masked


def _stored(encoded: bytes, file: ImageFile, size: tuple[int, int] | None, max_pixels: int) -> Stored:
    """Return the stored size and orientation; if the record has a `size`, a damaged image raises only when decoded."""
    if size and not may_be_turned(encoded):
        return Stored(*size, UPRIGHT)
    try:
        return read_stored(file, max_pixels)
    except ImageError:
        if size is None:
            raise
        return Stored(*size, UPRIGHT)


def turned_entries(objects: list[Entry], stored: Stored) -> list[Entry]:
    """Convert the boxes of objects from stored pixels to pixels of the upright image."""
    if stored.orientation == UPRIGHT:
        return objects
    left, top, width, height = np.array([entry["bbox"] for entry in objects], np.float64).reshape(-1, 4).T
    boxes = upright_boxes(np.stack([top, left, top + height, left + width], axis=1), *stored)
    rows = ([left, top, right - left, bottom - top] for top, left, bottom, right in boxes.tolist())
    return [entry | {"bbox": box} for entry, box in zip(objects, rows, strict=True)]


def _is_upright(
    size: tuple[int, int] | None, stored: Stored, coco: list[Entry], objects: list[Entry], turned: list[Entry]
) -> bool:
    """Return whether a record's features describe the upright image although the stored image is rotated.

    Earlier versions of this package wrote these records: `objects` agree with the COCO entries `coco`, but `turned`
    objects do not. In other records, the size may show it.
    """
    if stored.orientation == UPRIGHT:
        return False
    if size and size != stored[:2]:
        return size == turned_size(*stored)
    return _agree(coco, objects) and not _agree(coco, turned)


def _objects(features: Features, height: int, width: int) -> list[Entry]:
    labels = features.ints(LABEL)
    sides = [features.floats(side) for side in SIDES]
    texts, crowds, areas = features.texts(TEXT), features.ints(CROWD), features.floats(AREA)
    lengths = {key: len(values) for key, values in zip(SIDES, sides, strict=True)}
    lengths |= {key: len(values) for key, values in ((TEXT, texts), (CROWD, crowds), (AREA, areas)) if values}
    if set(lengths.values()) - {len(labels)}:
        raise DataError(f"its features differ in length. Received: {LABEL}={len(labels)}, {lengths}")
    entries = []
    for k, (label, top, left, bottom, right) in enumerate(zip(labels, *sides, strict=True)):
        box = [left * width, top * height, (right - left) * width, (bottom - top) * height]
        entry = {"category_id": label, "bbox": box, "iscrowd": 0}
        entry |= {"iscrowd": crowds[k]} if crowds else {}
        entry |= {"area": areas[k]} if areas else {}
        entries.append(entry | {"_text": texts[k] if texts else ""})
    return entries


def mask_digest(pngs: list[bytes]) -> str:
    """Return a digest of the masks of a record, which shows whether another tool changed them."""
    return hashlib.sha256(b"".join(pngs)).hexdigest()


def _coco_entries(features: Features) -> tuple[Entry, list[Entry], Any]:
    """Return the COCO entries that `tfrecord_writer` adds to a record, and the digest of the masks beside them."""
    text = b"".join(features.bytes(COCO))
    try:
        coco = json.loads(text) if text else {"image": {}, "annotations": []}
        if all(isinstance(entry, dict) for entry in [coco["image"], *coco["annotations"]]):
            return plain(coco["image"]), [plain(entry) for entry in coco["annotations"]], coco.get("masks")
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    raise DataError(f"its {COCO} was not written by this package")


def _agree(coco: list[Entry], objects: list[Entry]) -> bool:
    """Return whether COCO entries agree with the schema's features, which other tools may have changed."""
    keys = ("category_id", "iscrowd")
    if [[entry.get(key, 0) for key in keys] for entry in coco] != [[row[key] for key in keys] for row in objects]:
        return False
    try:
        boxes = np.array([entry.get("bbox") for entry in coco], np.float64).reshape(-1, 4)
        return np.allclose(boxes, [row["bbox"] for row in objects] or boxes, rtol=1e-6, atol=1e-3)
    except (TypeError, ValueError, OverflowError):
        return False


def _number(images: list[Entry], objects: list[list[Entry]]) -> list[Entry]:
    """Assign ids and places to images and objects; return all objects in one list."""
    sources = [image.pop("_source") for image in images]
    known = all(_INTEGER.fullmatch(source) and is_int64(int(source)) for source in sources)
    for position, (image, source, found) in enumerate(zip(images, sources, objects, strict=True)):
        image["id"] = int(source) if known else position + 1
        image["file_name"] = image["file_name"] or f"{image['id']}.jpg"
        file, record = image["_at"]
        image["_at"] = Place(file, f"{record}, image {image['id']}")
        for k, entry in enumerate(found):
            entry |= {"image_id": image["id"], "_at": Place(file, f"{image['_at'].entry}, object {k}")}
    annotations = [entry for found in objects for entry in found]
    if not all("id" in entry for entry in annotations):
        for number, entry in enumerate(annotations, start=1):
            entry["id"] = number
    return annotations


def _listed(file: Path) -> Entry:
    """Read a file with the categories, and other keys of COCO except images and annotations."""
    return {"categories": read_label_map(file)} if file.suffix == ".pbtxt" else read_json(file, ["categories"])


def _check_names(annotations: list[Entry], categories: list[Entry], file: Path, problems: Problems) -> None:
    """Raise an error, once per class, if a record's class name belongs to another class in the list of categories."""
    names = {str(entry.get("id")): str(entry.get("name")) for entry in categories}
    others, reported = set(names.values()), set()
    for entry in annotations:
        label, text = str(entry["category_id"]), entry["_text"]
        if text in others and text not in (names.get(label, text), label) and label not in reported:
            reported.add(label)
            with problems.at(entry["_at"]):
                raise DataError(f"class {label} is {text!r} here, but {names[label]!r} in {file}")


def _named(annotations: list[Entry], problems: Problems) -> list[Entry]:
    """Return the categories in the records, with the records' names."""
    names: dict[int, str] = {}
    for entry in annotations:
        label, name = entry["category_id"], entry["_text"] or str(entry["category_id"])
        with problems.at(entry["_at"]):
            if names.setdefault(label, name) != name:
                raise DataError(f"class {label} is named {name!r} here, but {names[label]!r} before")
    return [{"id": label, "name": names[label]} for label in sorted(names)]
