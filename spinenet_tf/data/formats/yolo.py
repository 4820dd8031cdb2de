"""Read YOLO labels: one text file per image, with one line `class x y width height` per object."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

from spinenet_tf._files.messages import some_of
from spinenet_tf.data.dataset import DataError, DetectionDataset
from spinenet_tf.data.files import read_lines
from spinenet_tf.data.formats.annotations import Annotations, Entry, to_dataset
from spinenet_tf.data.formats.image_folder import images_in
from spinenet_tf.data.formats.yolo_description import Description, describe
from spinenet_tf.data.formats.yolo_labels import check_labels, find_labels, label_files, orphans
from spinenet_tf.data.formats.yolo_rows import Keypoints, Row, meaning_of_six, read_row
from spinenet_tf.data.images import read_size
from spinenet_tf.data.problems import Place, Problems


def read_yolo(path: str | Path, split: str | None = None, problems: Problems | None = None) -> DetectionDataset:
    """Read a YOLO data set: see `to_dataset`. In YOLO, x and y are a box's center, and all numbers are in 0..1.

    `path` is one of:
    - a `data.yaml`, whose key `split` (default: "train") has one or more image folders or image lists (`*.txt`),
      relative to the key `path`, which is relative to the file. Missing ones are searched without a leading `../`, then
      without `path`, and a warning names the one that is read.
    - an `obj.data`, as Darknet and CVAT write it.
    - a folder. A `data.yaml` or `obj.data` in it is read if `split` is given or the folder lacks `images` and `labels`.
      Otherwise all images are read, or those in the split's subfolder.

    The labels of `images/a/b.jpg` are in `labels/a/b.txt`, or beside the image; an image without them has no objects.
    Class names come from `data.yaml`, or from `classes.txt` or `obj.names`; otherwise they are the class numbers.
    Category ids are the class numbers + 1; image ids count from 1 in the order of the image paths, or of the list.

    A polygon is the mask of its bounding box; of pose labels (`kpt_shape` in `data.yaml`), only the box is read. A
    class with six numbers is a polygon of three points, or a box with confidence and track id, depending on other rows.

    Raises:
        DataError: as `to_dataset` does, or a file is missing or not in YOLO format, a link leads out of the image or
            label folder, or a name in a list or `obj.data` lies outside the data set's folder. The message names the
            file and the line.
    """
    return to_dataset(load_yolo(path, split, problems), problems)


def load_yolo(path: str | Path, split: str | None = None, problems: Problems | None = None) -> Annotations:
    """Read a YOLO data set, without checking its entries; raises as `read_yolo` does."""
    path, problems = Path(path), problems or Problems()
    description = describe(path, split, problems)
    files = _files(description, path, problems)
    images = list(_images(files, problems))
    rows = [_Object(image, *row) for image in images for row in _rows(image, description.keypoints, problems)]
    annotations = list(_entries(rows, problems))
    for number, entry in enumerate(annotations, start=1):
        entry["id"] = number
    names = description.names or {
        label: str(label) for label in range(max((e["category_id"] for e in annotations), default=0))
    }
    for entry in annotations:
        with problems.at(entry["_at"]):
            if entry["category_id"] - 1 not in names:
                raise DataError(f"the class is not one of the {len(names)}. Received: {entry['category_id'] - 1}")
    for labels in orphans(description.folders, files) if problems.keep_going else ():
        problems.note(Place(labels), "there is no image for these labels")
    return Annotations(
        name="-".join(filter(None, (path.name if path.is_dir() else path.parent.name, description.split))),
        source=path,
        images=images,
        annotations=[entry for entry in annotations if entry["category_id"] - 1 in names],
        categories=[{"id": label + 1, "name": name} for label, name in sorted(names.items())],
        find_image=lambda entry: entry["_file"],
        place=lambda noun, entry: entry.get("_at") or Place(path, f"{noun} {entry.get('name')}"),
    )


def _files(description: Description, path: Path, problems: Problems) -> list[Path]:
    """Return all images; warn if no image of a folder has labels."""
    found = [(path, description.files), *((folder, images_in(folder)) for folder in description.folders)]
    if not any(images for _, images in found):
        raise DataError(f"{path}: there are no images in {some_of(description.folders) or 'its lists'}")
    for place, images in found:
        if images and not any(map(find_labels, images)):
            looked = dict.fromkeys(file.parent for image in images for file in label_files(image))
            problems.warn(Place(place), f"no image has a label file in {some_of(looked, ' or ')}")
    return [image for _, images in found for image in images]


def _images(files: list[Path], problems: Problems) -> Iterator[Entry]:
    """Yield COCO entries; file names are relative to the deepest common folder of all images."""
    paths = [Path(os.path.abspath(file)) for file in files]
    root = os.path.commonpath([path.parent for path in paths])
    with ThreadPoolExecutor() as threads:
        sizes = [threads.submit(read_size, file, problems.max_pixels) for file in files]
        for number, (file, path, size) in enumerate(zip(files, paths, sizes, strict=True), start=1):
            place = Place(file)
            with problems.at(place):
                height, width = size.result()
                at = {"_at": place, "_file": file}
                name = path.relative_to(root).as_posix()
                yield {"id": number, "file_name": name, "height": height, "width": width} | at


class _Object(NamedTuple):
    """One row of an image's label file."""

    image: Entry
    place: Place
    row: Row


def _rows(image: Entry, keypoints: Keypoints | None, problems: Problems) -> Iterator[tuple[Place, Row]]:
    labels, lines = None, []
    with problems.at(image["_at"]):
        labels = find_labels(image["_file"])
    if labels is None:
        return
    with problems.at(Place(labels)):
        check_labels(labels)
        lines = read_lines(labels)
    for number, line in enumerate(lines, start=1):
        place = Place(labels, f"line {number}")
        with problems.at(place):
            if line:
                yield place, read_row(line, keypoints)


def _entries(objects: list[_Object], problems: Problems) -> Iterator[Entry]:
    """Yield COCO entries; report ambiguous rows of six numbers as one error."""
    six = meaning_of_six(found.row for found in objects)
    unclear = [found for found in objects if found.row.kind == "six"] if six is None else []
    if unclear:
        with problems.at(unclear[0].place):
            raise DataError(
                "a class with six numbers is a polygon of three points, or a box with confidence and track id; no line "
                f"shows which one. {len(unclear)} lines have six numbers. Received: {unclear[0].row.numbers}"
            )
    for image, place, row in objects:
        if row.kind == "six" and six is None:
            continue
        with problems.at(place):
            box, polygon = _in_pixels(row.box(six or "box"), image), row.polygon(six or "box")
            entry = {"image_id": image["id"], "category_id": row.label + 1, "bbox": box, "iscrowd": 0, "_at": place}
            yield entry | ({} if polygon is None else {"segmentation": [_in_pixels(polygon, image)]})


def _in_pixels(numbers: Iterable[float], image: Entry) -> list[float]:
    """Convert numbers that alternate between x and y from fractions of the image."""
    return [number * size for number, size in zip(numbers, cycle((image["width"], image["height"])), strict=False)]
