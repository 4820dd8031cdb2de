"""Read YOLO labels: a text file for each image, a line `class x y width height` for each object."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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
    """Read a YOLO data set, as `to_dataset` makes a data set of it; x and y are a box's center, all relative to 1.

    `path` is a `data.yaml`, whose key `split` (by default "train") names one or several folders of images or lists of
    images (`*.txt`): relative to its key `path`, and that to the file. What is not there is looked for without a
    leading `../`, then without `path`; a warning tells which is read. Or it is an `obj.data`, as Darknet and CVAT write
    it. Or it is a folder: with one of these, which is read if a split is asked for or the folder does not hold `images`
    and `labels`; otherwise all of its images are read, or those of the split's own folder.

    The labels of `images/a/b.jpg` are in `labels/a/b.txt`, else beside it; an image without that file has no objects.
    Names come from `data.yaml`, else from `classes.txt` or `obj.names`; without any they are the class numbers.
    Category ids are the class numbers + 1, image ids count from 1 in order of the images' paths, or of the list.

    Of a polygon the bounding box is taken, of pose labels (`kpt_shape` in `data.yaml`) the box. Six numbers behind a
    class are three points, or a box with a confidence and the number of a track: the other rows tell which.

    Raises:
        DataError: naming the file and the line: as `to_dataset` does, for what is missing or is not YOLO's, and for
            links that lead out of the folders of images and labels. Names in lists and in `obj.data` must lie in the
            data set's folder.
    """
    return to_dataset(load_yolo(path, split, problems), problems)


def load_yolo(path: str | Path, split: str | None = None, problems: Problems | None = None) -> Annotations:
    """Read a YOLO data set, whose entries are not checked yet; raises as `read_yolo` does."""
    path, problems = Path(path), problems or Problems()
    told = describe(path, split, problems)
    files = _files(told, path, problems)
    images = list(_images(files, problems))
    rows = [_Object(image, *row) for image in images for row in _rows(image, told.keypoints, problems)]
    annotations = list(_entries(rows, problems))
    for number, entry in enumerate(annotations, start=1):
        entry["id"] = number
    names = told.names or {
        label: str(label) for label in range(max((e["category_id"] for e in annotations), default=0))
    }
    for entry in annotations:
        with problems.at(entry["_at"]):
            if entry["category_id"] - 1 not in names:
                raise DataError(f"the class is not one of the {len(names)}. Received: {entry['category_id'] - 1}")
    for labels in orphans(told.folders, files) if problems.keep_going else ():
        problems.note(Place(labels), "there is no image of these labels")
    return Annotations(
        name="-".join(filter(None, (path.name if path.is_dir() else path.parent.name, told.split))),
        source=path,
        images=images,
        annotations=[entry for entry in annotations if entry["category_id"] - 1 in names],
        categories=[{"id": label + 1, "name": name} for label, name in sorted(names.items())],
        find_image=lambda entry: entry["_file"],
        place=lambda noun, entry: entry.get("_at") or Place(path, f"{noun} {entry.get('name')}"),
    )


def _files(told: Description, path: Path, problems: Problems) -> list[Path]:
    """Return all images, and tell where none has labels."""
    found = [(path, told.files), *((folder, images_in(folder)) for folder in told.folders)]
    if not any(images for _, images in found):
        raise DataError(f"{path}: there are no images in {some_of(told.folders) or 'its lists'}")
    for place, images in found:
        if images and not any(map(find_labels, images)):
            looked = dict.fromkeys(file.parent for image in images for file in label_files(image))
            problems.warn(Place(place), f"no image has a label file, looked in {some_of(looked, ' and ')}")
    return [image for _, images in found for image in images]


def _images(files: list[Path], problems: Problems) -> Iterator[Entry]:
    """Yield COCO's entries; images are named by their paths below the deepest folder that holds all of them."""
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
    """A row of the label file of an image."""

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
    """Yield COCO's entries; rows of six numbers that no other row explains are one fault."""
    six = meaning_of_six(found.row for found in objects)
    unclear = [found for found in objects if found.row.kind == "six"] if six is None else []
    if unclear:
        with problems.at(unclear[0].place):
            raise DataError(
                "six numbers behind a class are a polygon of three points, or a box with a confidence and the number "
                f"of a track; no line tells which. {len(unclear)} lines have six. Received: {unclear[0].row.numbers}"
            )
    for image, place, row in objects:
        if row.kind == "six" and six is None:
            continue
        with problems.at(place):
            box = row.box(six or "box")
            xywh = [side * extent for side, extent in zip(box, (image["width"], image["height"]) * 2, strict=True)]
            yield {"image_id": image["id"], "category_id": row.label + 1, "bbox": xywh, "iscrowd": 0, "_at": place}
