"""Detect the format of a data set, and read it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from spinenet_tf.data.dataset import MAX_PIXELS, ClassificationDataset, DataError, DetectionDataset
from spinenet_tf.data.files import file_in
from spinenet_tf.data.formats.annotations import Annotations, to_dataset
from spinenet_tf.data.formats.coco import load_coco
from spinenet_tf.data.formats.image_folder import DETECTION_SETS, LOOKED_FOR, images_in, read_image_folder
from spinenet_tf.data.formats.shards import has_shards
from spinenet_tf.data.formats.tfds import load_tfds
from spinenet_tf.data.formats.tfrecord import load_tfrecord
from spinenet_tf.data.formats.voc import load_voc
from spinenet_tf.data.formats.yolo import load_yolo
from spinenet_tf.data.formats.yolo_description import is_described
from spinenet_tf.data.formats.yolo_labels import has_labels, has_labels_folder
from spinenet_tf.data.problems import Problems

Format = Literal["coco", "tfrecord", "yolo", "voc", "tfds", "image_folder"]
Source = str | os.PathLike[str]

# The arguments of `read` that apply to each format.
ARGUMENTS: dict[Format, tuple[str, ...]] = {
    "coco": ("images",),
    "tfrecord": ("categories",),
    "yolo": ("split",),
    "voc": ("split",),
    "tfds": ("split", "data_dir"),
    "image_folder": ("split",),
}

TFDS = "tfds:"
HINT = f"{DETECTION_SETS}, or a folder of class folders"


def read(
    path: Source,
    images: Source | None = None,
    split: str | None = None,
    *,
    categories: Source | None = None,
    data_dir: Source | None = None,
    max_pixels: int = MAX_PIXELS,
) -> DetectionDataset | ClassificationDataset:
    """Read a data set of any format: boxes of COCO, TFRecord, YOLO, Pascal VOC or TFDS, or a folder of class folders.

    The format is detected. Annotations are checked, and the first invalid entry is an error; `check` lists all. Image
    files are not decoded.

    Args:
        path: A COCO file (`*.json`) or a folder with `annotations.json` and `images`; TFRecord files (a file, folder,
            pattern, or the part before `-00000-of-00010`); YOLO's `data.yaml`, `obj.data` or folder; a Pascal VOC
            folder; `tfds:NAME` of a prepared data set; or a folder with one folder of images per class.
        images: The image folder of a COCO file; by default `images` beside it.
        split: The part to read. YOLO: a key of `data.yaml` (default: "train") or a subfolder. Pascal VOC: a list of
            `ImageSets/Main` (default: all images). TFDS: "train" (the default), "train[:10%]", and so on. Class
            folders: the subfolder that contains them.
        categories: The class names of TFRecord files, as JSON or a label map; by default the file beside them.
        data_dir: The folder of TFDS data sets.
        max_pixels: The largest image; images with more pixels are refused.

    Raises:
        DataError: there is no such data set, its format is unknown, an entry is invalid, or an argument does not apply
            to the format. The message names the file and the entry.
        ImportError: `tfds:` requires tensorflow-datasets.
    """
    problems = Problems(max_pixels=max_pixels)
    return read_any(path, images, split, problems, categories=categories, data_dir=data_dir)


def read_any(
    source: Source, images: Source | None, split: str | None, problems: Problems, **more: Source | None
) -> DetectionDataset | ClassificationDataset:
    """Read a data set of any format, as `read` does; `problems` decides how errors are handled."""
    source, format = os.fspath(source), format_of(source)
    given = _applicable(source, format, {"images": images, "split": split, **more})
    if format == "image_folder":
        folder = read_image_folder(Path(source, given.get("split", "")), problems)
        return replace(folder, max_pixels=problems.max_pixels)
    return to_dataset(_load(source, format, given, problems), problems)


def load(
    source: Source, images: Source | None = None, split: str | None = None, problems: Problems | None = None
) -> Annotations:
    """Read a detection data set of any format, without checking its entries; the arguments are those of `read`.

    Raises:
        DataError: as `read` does, or the data set has no boxes.
    """
    source, format = os.fspath(source), format_of(source)
    if format == "image_folder":
        raise DataError(f"{source}: a folder of class folders has no boxes. {LOOKED_FOR}")
    given = _applicable(source, format, {"images": images, "split": split})
    return _load(source, format, given, problems or Problems())


def _applicable(source: str, format: Format, given: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments that are not None; raise DataError if one does not apply to the format."""
    given = {name: value for name, value in given.items() if value is not None}
    for name, value in given.items():
        if name not in ARGUMENTS[format]:
            formats = ", ".join(other for other, names in ARGUMENTS.items() if name in names)
            raise DataError(f"{source}: {name} applies to {formats}, but this is {format}. Received: {name}={value}")
    return given


def _load(source: str, format: Format, given: dict[str, Any], problems: Problems) -> Annotations:
    if format == "coco":
        file = file_in(Path(source), "annotations.json") or Path(source)
        return load_coco(file, given.get("images") or file.parent / "images", problems)
    if format == "tfds":
        return load_tfds(source.removeprefix(TFDS), problems=problems, **{"split": "train"} | given)
    readers = {"tfrecord": load_tfrecord, "yolo": load_yolo, "voc": load_voc}
    return readers[format](source, problems=problems, **given)


def format_of(source: Source) -> Format:
    """Return the format of a data set; raise DataError if it is unknown."""
    source, path = os.fspath(source), Path(source)
    if source.startswith(TFDS):
        return "tfds"
    if path.suffix == ".json" or (path / "annotations.json").is_file():
        return "coco"
    if path.suffix in (".yaml", ".yml", ".data") or has_labels_folder(path) or is_described(path):
        return "yolo"
    if (path / "Annotations").is_dir() or any(path.glob("*.xml")):
        return "voc"
    if has_shards(path):
        return "tfrecord"
    if path.is_dir() and has_labels(path):
        return "yolo"
    if path.is_dir() and any(images_in(entry) for entry in path.iterdir() if entry.is_dir()):
        return "image_folder"
    if not path.exists():
        raise DataError(f"{source}: there is no such file or folder")
    raise DataError(f"{source}: not a data set in a known format. Known formats: {HINT}")
