"""Write TFRecord files in TF Model Garden's schema, which `tfrecord` reads without loss."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from spinenet_tf._files.progress import Track, untracked
from spinenet_tf._files.writing import new_folder
from spinenet_tf.data.dataset import DataError
from spinenet_tf.data.formats.annotations import Annotations, Entry, mask_of, plain, to_dataset
from spinenet_tf.data.formats.mask_images import mask_png
from spinenet_tf.data.formats.tfrecord import AREA, CATEGORIES, COCO, CROWD, LABEL, MASK, SIDES, TEXT, mask_digest
from spinenet_tf.data.images import Stored, read_stored
from spinenet_tf.data.input.pipeline import check_images
from spinenet_tf.data.orientation import stored_boxes
from spinenet_tf.data.problems import Problems

_KINDS = {
    int: lambda values: tf.train.Feature(int64_list=tf.train.Int64List(value=values)),
    float: lambda values: tf.train.Feature(float_list=tf.train.FloatList(value=values)),
    bytes: lambda values: tf.train.Feature(bytes_list=tf.train.BytesList(value=values)),
}


def write_tfrecord(
    read: Annotations, folder: str | Path, shards: int = 1, track: Track = untracked, masks: bool = False
) -> list[Path]:
    """Write `FOLDER-00000-of-00010.tfrecord` and so on, and `categories.json`, to a new folder; return the shards.

    The folder is written atomically. Images keep their order and bytes. Sizes and boxes refer to stored pixels, since
    TensorFlow ignores the EXIF orientation when decoding. `track` reports progress. The records always keep COCO's
    segmentations; `masks` adds one PNG per object for TF Model Garden, as its `--include_masks` does.

    Raises:
        DataError: an entry or an image is invalid, there are fewer images than shards or, with `masks`, an object other
            than a crowd has no valid mask.
        FileExistsError: the folder exists.
    """
    count = len(read.images)
    if not 1 <= shards <= max(1, count):
        raise DataError(f"{read.source}: {count} images allow 1 to {max(1, count)} shards. Received: {shards=}")
    check_images(to_dataset(read))
    names = [f"{Path(folder).name}-{number:05d}-of-{shards:05d}.tfrecord" for number in range(shards)]
    with new_folder(Path(folder)) as workplace:
        records = _records(read, track(read.images, count, "Writing"), masks)
        for number, name in enumerate(names):
            size = count * (number + 1) // shards - count * number // shards
            with tf.io.TFRecordWriter(str(workplace / name)) as writer:
                for record in itertools.islice(records, size):
                    writer.write(record.SerializeToString())
        for _ in records:  # exhausts `track`, so that it completes
            pass
        content = {**read.extra, "categories": [plain(entry) for entry in read.categories]}
        (workplace / CATEGORIES).write_text(json.dumps(content))
    return [Path(folder) / name for name in names]


def _records(read: Annotations, images: Iterable[Entry], masks: bool) -> Iterator[tf.train.Example]:
    names = {entry["id"]: entry["name"] for entry in read.categories}
    objects: dict[int, list[Entry]] = defaultdict(list)
    for entry in read.annotations:
        objects[entry["image_id"]].append(entry)
    for image in images:
        stored = read_stored(file := read.find_image(image))
        features = _of_image(image, stored, file.read_bytes())
        features |= _of_objects(objects[image["id"]], stored, names)
        coco = {"image": plain(image), "annotations": [plain(entry) for entry in objects[image["id"]]]}
        if masks:
            pngs = [_mask_png(read, entry, image, stored) for entry in objects[image["id"]]]
            features[MASK], coco["masks"] = _KINDS[bytes](pngs), mask_digest(pngs)
        features[COCO] = _KINDS[bytes]([json.dumps(coco).encode()])
        yield tf.train.Example(features=tf.train.Features(feature=features))


def _mask_png(read: Annotations, entry: Entry, image: Entry, stored: Stored) -> bytes:
    mask = None
    with Problems().at(read.place("annotation", entry)):
        mask = mask_of(entry, image["height"], image["width"])
        if mask is None and not entry.get("iscrowd"):
            raise DataError("the object has no mask; leave it out, or write the records without masks")
    return mask_png(mask, stored)


def _of_image(image: Entry, stored: Stored, encoded: bytes) -> dict[str, tf.train.Feature]:
    with Image.open(io.BytesIO(encoded)) as opened:
        format = str(opened.format).lower()
    texts = {
        "image/filename": image["file_name"],
        "image/source_id": str(image["id"]),
        "image/key/sha256": hashlib.sha256(encoded).hexdigest(),
        "image/format": format,
    }
    features = {key: _KINDS[bytes]([text.encode()]) for key, text in texts.items()}
    features["image/encoded"] = _KINDS[bytes]([encoded])
    return features | {f"image/{side}": _KINDS[int]([getattr(stored, side)]) for side in ("height", "width")}


def _of_objects(objects: list[Entry], stored: Stored, names: dict[int, str]) -> dict[str, tf.train.Feature]:
    """Return the schema's features of the objects; boxes are not clipped."""
    left, top, w, h = np.array([entry["bbox"] for entry in objects], np.float64).reshape(-1, 4).T
    boxes = stored_boxes(np.stack([top, left, top + h, left + w], axis=1), *stored)
    sides = (boxes / [stored.height, stored.width, stored.height, stored.width]).T
    features = {key: _KINDS[float](side) for key, side in zip(SIDES, sides, strict=True)}
    features[LABEL] = _KINDS[int]([entry["category_id"] for entry in objects])
    features[TEXT] = _KINDS[bytes]([names[entry["category_id"]].encode() for entry in objects])
    features[CROWD] = _KINDS[int]([entry.get("iscrowd", 0) for entry in objects])
    features[AREA] = _KINDS[float]([entry.get("area", entry["bbox"][2] * entry["bbox"][3]) for entry in objects])
    return features
