"""Write YOLO data sets: boxes, and for segmentation one polygon per object."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import yaml

from spinenet_tf._files.progress import Track, untracked
from spinenet_tf._files.writing import new_folder
from spinenet_tf.data.dataset import Example
from spinenet_tf.data.files import inside
from spinenet_tf.data.formats.annotations import Annotations, to_dataset
from spinenet_tf.data.formats.coco import write_new
from spinenet_tf.data.formats.yolo_labels import label_file
from spinenet_tf.data.input.pipeline import check_images
from spinenet_tf.data.outlines import outline
from spinenet_tf.data.problems import Problems

logger = logging.getLogger(__name__)


def write_yolo(read: Annotations, folder: str | Path, track: Track = untracked) -> Path:
    """Write `data.yaml`, `images/` and `labels/` atomically into a new folder; return `data.yaml`.

    Images keep their bytes and names. A mask is written as one polygon (see `outlines.outline`), an object without one
    as a box. YOLO has no crowds: they are left out, with a warning. Ids and areas are lost. `track` reports progress.

    Raises:
        DataError: an entry or an image is invalid, or two images have the same name without suffix.
        FileExistsError: the folder exists.
    """
    check_images(dataset := to_dataset(read))
    with new_folder(Path(folder)) as workplace:
        root = (workplace / "images").resolve()
        root.mkdir()
        images = zip(read.images, dataset, strict=True)
        for entry, example in track(images, len(dataset), "Writing"):
            with Problems().at(read.place("image", entry)):
                image = inside(root, entry["file_name"])
                write_new(image, example.path.read_bytes())
                write_new(label_file(image), "".join(_rows(example)).encode())
        names = dict(enumerate(dataset.class_names))
        description = {"path": ".", "train": "images", "val": "images", "names": names}
        (workplace / "data.yaml").write_text(yaml.safe_dump(description, allow_unicode=True), encoding="utf-8")
    if crowds := sum(int(example.crowd.sum()) for example in dataset):
        logger.warning("%s: %d crowds are left out, since YOLO has none", folder, crowds)
    return Path(folder) / "data.yaml"


def _rows(example: Example) -> Iterator[str]:
    masks = example.masks or [None] * len(example.boxes)
    for box, label, crowd, mask in zip(example.boxes, example.classes, example.crowd, masks, strict=True):
        if crowd:
            continue
        points = None if mask is None else outline(mask)
        numbers = _center_and_size(box) if points is None else _unmistakable(points)
        fractions = numbers.reshape(-1, 2) / [example.width, example.height]
        yield " ".join([str(label), *(f"{number:.8g}" for number in fractions.ravel())]) + "\n"


def _center_and_size(box: np.ndarray) -> np.ndarray:
    top, left, bottom, right = box.astype(np.float64)
    return np.array([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top])


def _unmistakable(points: np.ndarray) -> np.ndarray:
    """Repeat the last point of a triangle: six numbers may also be a box with confidence and track id."""
    return np.append(points, points[-2:]) if len(points) == 6 else points
