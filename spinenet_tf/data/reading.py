"""Detect the format of a data set, and read it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from spinenet_tf.data.dataset import DataError
from spinenet_tf.data.files import file_in
from spinenet_tf.data.formats.annotations import Annotations
from spinenet_tf.data.formats.image_folder import DETECTION_SETS, LOOKED_FOR, images_in
from spinenet_tf.data.formats.shards import has_shards
from spinenet_tf.data.formats.yolo_description import is_described
from spinenet_tf.data.formats.yolo_labels import has_labels, has_labels_folder
from spinenet_tf.data.problems import Problems

Format = Literal["coco", "tfrecord", "yolo", "voc", "tfds", "image_folder"]

TFDS = "tfds:"
HINT = f"{DETECTION_SETS}, or a folder of class folders"


def load(
    source: str, images: Path | None = None, split: str | None = None, problems: Problems | None = None
) -> Annotations:
    """Read a detection data set of any format, without checking its entries.

    `images` is the image folder of a COCO file; the default is the folder `images` beside it. `split` is passed to the
    readers of YOLO, VOC and TFDS.

    Raises:
        DataError: the format is unknown, or as the format's reader does.
    """
    path, format = Path(source), format_of(source)
    if images is not None and format != "coco":
        raise DataError(f"{source}: an image folder can only be given for a COCO file. Received: images={images}")
    if format == "coco":
        from spinenet_tf.data.formats.coco import load_coco

        file = file_in(path, "annotations.json") or path
        return load_coco(file, images or file.parent / "images", problems)
    if format == "tfds":
        from spinenet_tf.data.formats.tfds import load_tfds

        return load_tfds(source.removeprefix(TFDS), split or "train", problems=problems)
    if format == "yolo":
        from spinenet_tf.data.formats.yolo import load_yolo

        return load_yolo(path, split, problems)
    if format == "voc":
        from spinenet_tf.data.formats.voc import load_voc

        return load_voc(path, split, problems)
    if format == "tfrecord":
        from spinenet_tf.data.formats.tfrecord import load_tfrecord

        return load_tfrecord(path, problems=problems)
    raise DataError(f"{source}: a folder of class folders has no boxes. {LOOKED_FOR}")


def format_of(source: str) -> Format:
    """Return the format of a data set; raise DataError if it is unknown."""
    path = Path(source)
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
