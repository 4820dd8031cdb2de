"""Read YOLO labels: a text file for each image, a line `class x y width height` for each object."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import yaml

from spinenet_tf.data.annotations import Annotations, Entry, to_dataset
from spinenet_tf.data.dataset import DataError, DetectionDataset
from spinenet_tf.data.files import check_inside, read_lines, read_text, resolved
from spinenet_tf.data.image_folder import images_in
from spinenet_tf.data.images import read_size
from spinenet_tf.data.problems import Place, Problems
from spinenet_tf.data.yolo_rows import LAST_CLASS, Keypoints, Row, meaning_of_six, read_row

CLASSES = "classes.txt"  # a name a line, beside the labels or in the folder above
LONGEST = 1_000_000  # characters of a data.yaml


def read_yolo(path: str | Path, split: str = "train", problems: Problems | None = None) -> DetectionDataset:
    """Read a YOLO data set, as `to_dataset` makes a data set of it; x and y are a box's centre, all relative to 1.

    `path` is a `data.yaml`, whose key `split` names one or several folders of images (relative to its key `path`, and
    that to the file), or a folder that holds `images` and `labels`, all of which is read. The labels of
    `images/a/b.jpg` are in `labels/a/b.txt`; an image without that file has no objects. Names come from `data.yaml`,
    else from `classes.txt`; without either they are the class numbers. Category ids are the class numbers + 1, image
    ids count from 1 in order of the images' paths.

    Of a polygon the bounding box is taken, of pose labels (`kpt_shape` in `data.yaml`) the box. Six numbers behind a
    class are three points, or a box with a confidence and the number of a track: the other rows tell which.

    Raises:
        DataError: naming the file and the line: as `to_dataset` does, for what is missing or is not YOLO's, and for
            links that lead out of the folders of images and labels.
    """
    return to_dataset(load_yolo(path, split, problems), problems)


def load_yolo(path: str | Path, split: str = "train", problems: Problems | None = None) -> Annotations:
    """Read a YOLO data set, whose entries are not checked yet; raises as `read_yolo` does."""
    path, problems = Path(path), problems or Problems()
    folders, names, keypoints = _described(path, split) if path.is_file() else _found(path)
    files = [file for folder in folders for file in images_in(folder)]
    if not files:
        raise DataError(f"{path}: there are no images in {', '.join(map(str, folders))}")
    images = list(_images(files, path if path.is_dir() else path.parent, problems))
    rows = [_Object(image, *row) for image in images for row in _rows(image, keypoints, problems)]
    annotations = list(_entries(rows, problems))
    for number, entry in enumerate(annotations, start=1):
        entry["id"] = number
    names = names or {label: str(label) for label in range(max((e["category_id"] for e in annotations), default=0))}
    for entry in annotations:
        with problems.at(entry["_at"]):
            if entry["category_id"] - 1 not in names:
                raise DataError(f"the class is not one of the {len(names)}. Received: {entry['category_id'] - 1}")
    _note_orphans(folders, files, problems)
    return Annotations(
        name=path.name if path.is_dir() else f"{path.parent.name}-{split}",
        source=path,
        images=images,
        annotations=[entry for entry in annotations if entry["category_id"] - 1 in names],
        categories=[{"id": label + 1, "name": name} for label, name in sorted(names.items())],
        find_image=lambda entry: entry["_file"],
        place=lambda noun, entry: entry.get("_at") or Place(path, f"{noun} {entry.get('name')}"),
    )


def label_file(image: Path) -> Path:
    """Return the path of an image's labels: the last folder named `images` becomes `labels`."""
    parts = list(image.parts)
    if "images" not in parts[:-1]:
        raise DataError(f"{image}: YOLO's images lie in a folder named images, and their labels in one named labels")
    parts[len(parts) - 2 - parts[-2::-1].index("images")] = "labels"
    return Path(*parts).with_suffix(".txt")


def _described(path: Path, split: str) -> tuple[list[Path], dict[int, str], Keypoints | None]:
    """Return the image folders, the class names and the shape of keypoints that a `data.yaml` tells."""
    content = _yaml(path)
    chosen = content.get(split)
    chosen = [chosen] if isinstance(chosen, str) else chosen
    if not isinstance(chosen, list) or not all(isinstance(folder, str) for folder in chosen):
        raise DataError(f"{path}: the key {split!r} names no folder of images. Received: {content.get(split)!r:.200}")
    root = path.parent / str(content.get("path") or "")
    folders = [root / folder for folder in chosen]
    for folder in folders:
        if not resolved(folder).is_dir():
            raise DataError(f"{path}: {split!r} is not a folder of images. Received: {str(folder)!r:.200}")
    return folders, _names(path, content), _keypoints(path, content)


def _yaml(path: Path) -> Entry:
    text = read_text(path)
    if len(text) > LONGEST:
        raise DataError(f"{path}: not a YOLO data set: it has {len(text):,} characters, the limit is {LONGEST:,}")
    try:
        has_aliases = any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text))
        content = None if has_aliases else yaml.safe_load(text)
    except Exception as error:  # of a dozen unrelated types, where a tag is false or the nesting deep
        raise DataError(f"{path}: not YAML ({' '.join(str(error).split())[:200]})") from None
    if has_aliases:
        raise DataError(f"{path}: it has aliases (*name), which YOLO does not need and which can blow up")
    if not isinstance(content, dict):
        raise DataError(f"{path}: not a YOLO data set: it holds no keys")
    return content


def _names(path: Path, content: Entry) -> dict[int, str]:
    names = content.get("names")
    names = dict(enumerate(names)) if isinstance(names, list) else names
    if not isinstance(names, dict) or not all(type(key) is int and 0 <= key <= LAST_CLASS for key in names):
        raise DataError(f"{path}: 'names' is a list of class names, or a map from numbers. Received: {names!r:.200}")
    if not all(isinstance(name, str | int | float) for name in names.values()):
        raise DataError(f"{path}: a class name is text. Received: {names!r:.200}")
    return {key: str(name) for key, name in names.items()}


def _keypoints(path: Path, content: Entry) -> Keypoints | None:
    shape = content.get("kpt_shape")
    if shape is None:
        return None
    is_shape = isinstance(shape, list) and len(shape) == 2 and all(type(size) is int for size in shape)
    if not is_shape or shape[0] < 1 or shape[1] not in (2, 3):
        raise DataError(f"{path}: 'kpt_shape' is [points, 2 or 3]. Received: {shape!r:.200}")
    return Keypoints(*shape)


def _found(folder: Path) -> tuple[list[Path], dict[int, str], Keypoints | None]:
    """Return the image folder inside `folder`, and what any file there tells as `_described` does."""
    if not (folder / "images").is_dir() or not (folder / "labels").is_dir():
        raise DataError(f"{folder}: a YOLO data set holds the folders images and labels")
    if (folder / "data.yaml").is_file():
        content = _yaml(folder / "data.yaml")
        return [folder / "images"], _names(folder / "data.yaml", content), _keypoints(folder / "data.yaml", content)
    for file in (folder / CLASSES, folder / "labels" / CLASSES):
        if file.is_file():
            return [folder / "images"], dict(enumerate(read_lines(file))), None
    return [folder / "images"], {}, None


def _images(files: list[Path], root: Path, problems: Problems) -> Iterator[Entry]:
    with ThreadPoolExecutor() as threads:
        sizes = [threads.submit(read_size, file, problems.max_pixels) for file in files]
        for number, (file, size) in enumerate(zip(files, sizes, strict=True), start=1):
            name = file.relative_to(root) if file.is_relative_to(root) else Path(file.name)
            place = Place(file)
            with problems.at(place):
                height, width = size.result()
                at = {"_at": place, "_file": file}
                yield {"id": number, "file_name": name.as_posix(), "height": height, "width": width} | at


class _Object(NamedTuple):
    """A row of the label file of an image."""

    image: Entry
    place: Place
    row: Row


def _rows(image: Entry, keypoints: Keypoints | None, problems: Problems) -> Iterator[tuple[Place, Row]]:
    labels = label_file(image["_file"])
    if not labels.is_file():
        return
    lines: list[str] = []
    with problems.at(Place(labels)):
        check_inside(labels, next(parent for parent in labels.parents if parent.name == "labels"))
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
        box = row.box(six or "box")
        xywh = [side * extent for side, extent in zip(box, (image["width"], image["height"]) * 2, strict=True)]
        yield {"image_id": image["id"], "category_id": row.label + 1, "bbox": xywh, "iscrowd": 0, "_at": place}


def _note_orphans(folders: list[Path], files: list[Path], problems: Problems) -> None:
    """List label files that no image belongs to."""
    known = {label_file(file) for file in files}
    for folder in folders:
        for labels in sorted(label_file(folder / "x.jpg").parent.rglob("*.txt")):
            if labels not in known and labels.name != CLASSES:
                problems.note(Place(labels), "there is no image of these labels")
