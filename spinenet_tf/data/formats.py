"""Tell by a path what format a data set has, and read it."""

from __future__ import annotations

from pathlib import Path

from spinenet_tf.data.annotations import Annotations
from spinenet_tf.data.dataset import DataError
from spinenet_tf.data.problems import Problems

TFDS = "tfds:"
HINT = (
    "a COCO file (*.json), a folder with annotations.json and images, TFRecord files, YOLO's data.yaml or folder with "
    "images and labels, a Pascal VOC folder, tfds:NAME, or a folder of class folders"
)


def load(
    source: str, images: Path | None = None, split: str | None = None, problems: Problems | None = None
) -> Annotations:
    """Read a detection data set of any format, whose entries are not checked yet.

    `images` is the folder of a COCO file's images, if it is not the folder `images` beside it. `split` is what the
    readers of YOLO, VOC and TFDS take.

    Raises:
        DataError: it is of no format that is known, or as the format's reader says.
    """
    path = Path(source)
    if source.startswith(TFDS):
        from spinenet_tf.data.tfds import load_tfds

        return load_tfds(source.removeprefix(TFDS), split or "train", problems=problems)
    if path.suffix == ".json" or (path / "annotations.json").is_file():
        from spinenet_tf.data.coco import load_coco

        file = path if path.suffix == ".json" else path / "annotations.json"
        return load_coco(file, images or file.parent / "images")
    if images is not None:
        raise DataError(f"{source}: only a COCO file has its images elsewhere. Received: images={images}")
    if path.suffix in (".yaml", ".yml") or ((path / "images").is_dir() and (path / "labels").is_dir()):
        from spinenet_tf.data.yolo import load_yolo

        return load_yolo(path, split or "train", problems)
    if (path / "Annotations").is_dir() or any(path.glob("*.xml")):
        from spinenet_tf.data.voc import load_voc

        return load_voc(path, split, problems)
    return _load_tfrecord(source, problems)


def is_image_folder(source: str) -> bool:
    """Tell whether a path is a folder of class folders: that holds nothing of any other format."""
    from spinenet_tf.data.image_folder import images_in

    path = Path(source)
    told = [path / "annotations.json", path / "labels", path / "Annotations"]
    if not path.is_dir() or any(entry.exists() for entry in told) or any(path.glob("*.xml")):
        return False
    return any(images_in(entry) for entry in path.iterdir() if entry.is_dir())


def _load_tfrecord(source: str, problems: Problems | None) -> Annotations:
    from spinenet_tf.data.shards import is_sharded, shard_files
    from spinenet_tf.data.tfrecord import load_tfrecord

    path = Path(source)
    if path.is_file() and not is_sharded(path):
        raise DataError(f"{source}: not a data set of a known format: {HINT}")
    if not path.is_file() and not path.is_dir() and not any(path.parent.glob(f"{path.name}*")):
        raise DataError(f"{source}: there is no such file or folder")
    try:
        shard_files(source)
    except DataError as error:
        raise DataError(f"{error}. A data set is {HINT}") from None
    return load_tfrecord(source, problems=problems)
