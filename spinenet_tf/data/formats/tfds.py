"""Read detection data sets that TensorFlow Datasets has prepared."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from spinenet_tf.data.dataset import DataError, DetectionDataset
from spinenet_tf.data.formats.annotations import Annotations, Entry, to_dataset
from spinenet_tf.data.formats.shards import Record, records
from spinenet_tf.data.formats.tfrecord import Features, encoded_image, turned_entries
from spinenet_tf.data.images import read_stored
from spinenet_tf.data.orientation import turned_size
from spinenet_tf.data.problems import Place, Problems


def read_tfds(
    name: str, split: str, data_dir: str | Path | None = None, problems: Problems | None = None
) -> DetectionDataset:
    """Read one split of a TFDS data set such as "coco/2017" or "voc" into a data set: see `to_dataset`.

    The data set must already be prepared (`tfds build`, or `builder.download_and_prepare()`); nothing is downloaded.
    `split` may be a slice such as "train[:10%]". Required features are `image` and, in the sequence `objects`, `bbox`
    and `label`; optional ones are `is_crowd` or VOC's `is_difficult`, `area` and `id`. Category ids are the labels + 1.
    Image ids are `image/id` if present, otherwise they count from 1.

    Raises:
        DataError: as `to_dataset` does, or the data set is unknown or not prepared, or lacks the split or a feature.
        ImportError: tensorflow-datasets is not installed.
    """
    return to_dataset(load_tfds(name, split, data_dir, problems), problems)


def load_tfds(
    name: str, split: str, data_dir: str | Path | None = None, problems: Problems | None = None
) -> Annotations:
    """Read a split of a TFDS data set, without checking its entries; raises as `read_tfds` does."""
    try:
        import tensorflow_datasets as tfds
    except ImportError:
        raise ImportError("TFDS data sets require tensorflow-datasets: pip install spinenet_tf[tfds]") from None
    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except Exception as error:  # of a dozen unrelated types
        raise DataError(f"TFDS data set {name!r}: {' '.join(str(error).split())[:100]}") from None
    return load_builder(builder, split, problems)


def load_builder(builder: Any, split: str, problems: Problems | None = None) -> Annotations:
    """Read a split of a prepared TFDS builder, without checking its entries.

    Raises:
        DataError: the data set is not prepared, has no such split, or lacks detection features.
    """
    name, problems = builder.info.full_name, problems or Problems()
    place = Place(Path(name))
    names = _class_names(builder.info.features, place)
    images: list[Entry] = []
    annotations: list[Entry] = []
    for record in _records(builder, split, place, problems):
        with problems.at(record.place):
            image, objects = _entries(record, len(images) + 1, problems.max_pixels)
            images.append(image)
            annotations += objects
    for number, entry in enumerate(annotations, start=1):
        entry["id"] = number
    return Annotations(
        name=f"{builder.name}-{split}",
        source=Path(name),
        images=images,
        annotations=annotations,
        categories=[{"id": label + 1, "name": text} for label, text in enumerate(names)],
        find_image=lambda entry: entry["_file"],
        place=lambda noun, entry: entry.get("_at", place),
    )


def _class_names(features: Any, place: Place) -> list[str]:
    try:
        objects = features["objects"]
        objects = getattr(objects, "feature", objects)  # the element of a Sequence
        return list(objects["label"].names or map(str, range(objects["label"].num_classes)))
    except (KeyError, AttributeError, TypeError):
        raise DataError(f"{place}: not a detection data set: it has no feature `objects` with class labels") from None


def _records(builder: Any, split: str, place: Place, problems: Problems) -> Iterator[Record]:
    """Yield the records in the files and file slices of a split."""
    try:
        instructions = builder.info.splits[split].file_instructions
    except (KeyError, ValueError) as error:
        raise DataError(
            f"{place}: there is no prepared split {split!r} ({' '.join(str(error).split())[:200]})"
        ) from None
    for part in instructions:
        stop = None if part.take < 0 else part.skip + part.take
        yield from itertools.islice(records(Path(part.filename), problems), part.skip, stop)


def _entries(record: Record, number: int, max_pixels: int) -> tuple[Entry, list[Entry]]:
    """Return the entries of one image and its objects; `number` is the image id if the record has none.

    TFDS ignores the EXIF orientation: its boxes are relative to the stored pixels.
    """
    features = Features(record.content)
    encoded = encoded_image(features, "image")
    name = "".join(features.texts("image/filename")) or f"{number}.jpg"
    file = record.image(encoded, PurePath(name).name)
    stored = read_stored(file, max_pixels)
    height, width = turned_size(*stored)
    key = features.ints("image/id")[0] if features.ints("image/id") else number
    image = {"id": key, "file_name": name, "height": height, "width": width, "_at": record.place, "_file": file}
    labels = features.ints("objects/label")
    boxes = np.array(features.floats("objects/bbox"), np.float64)
    columns = {
        "iscrowd": features.ints("objects/is_crowd") or features.ints("objects/is_difficult"),
        "area": features.ints("objects/area") or features.floats("objects/area"),
    }
    if boxes.size != 4 * len(labels) or any(len(column) not in (0, len(labels)) for column in columns.values()):
        raise DataError(f"its features differ in length. Received: {len(labels)} labels, {boxes.size} box sides")
    objects = []
    for k, (label, box) in enumerate(zip(labels, boxes.reshape(-1, 4), strict=True)):
        top, left, bottom, right = (box * [stored.height, stored.width, stored.height, stored.width]).tolist()
        entry = {"image_id": key, "category_id": label + 1, "bbox": [left, top, right - left, bottom - top]}
        entry |= {column: values[k] for column, values in columns.items() if values}
        objects.append(entry | {"_at": Place(record.file, f"{record.place.entry}, image {key}, object {k}")})
    return image, turned_entries(objects, stored)
