"""Define the data set structures that all formats are read into."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp")
MAX_PIXELS = 64_000_000  # default limit of an image
PILLOW_MAX_PIXELS = 89_478_485  # upper limit: for larger images, Pillow warns, then raises


class DataError(ValueError):
    """An error in images or annotations, with a one-line message that names the file."""


class ImageError(DataError):
    """An error in one image file, which training can skip."""


class ImageFile(Protocol):
    """An encoded image: a `Path`, or a part of another file. `str` returns its location."""

    @property
    def name(self) -> str:
        """Return the file name without folders."""

    def read_bytes(self) -> bytes:
        """Return the encoded image."""


@dataclass(frozen=True, eq=False)
class Example:
    """One image and its objects; size and boxes are in pixels of the upright image (EXIF orientation applied)."""

    image_id: int
    path: ImageFile
    height: int
    width: int
    boxes: np.ndarray  # [N, 4] float32, yxyx, inside the image
    classes: np.ndarray  # [N] int32, 0..C-1
    crowd: np.ndarray  # [N] bool: the box covers a group; not trained on, and not counted as missed
    area: np.ndarray  # [N] float32, square pixels of the object's mask if known, otherwise of its box

    @property
    def trainable(self) -> np.ndarray:
        """Return `[N]` bool: whether an object is used in training."""
        return ~self.crowd


@dataclass(frozen=True, eq=False)
class DetectionDataset:
    """Images with boxes of `len(class_names)` classes."""

    name: str
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]  # the ids in the file, in class order
    examples: tuple[Example, ...]
    max_pixels: int = MAX_PIXELS  # of an image; larger ones are rejected before decoding

    def __len__(self) -> int:
        return len(self.examples)

    def __iter__(self) -> Iterator[Example]:
        return iter(self.examples)

    def take(self, indices: Iterable[int]) -> DetectionDataset:
        """Return the data set reduced to the images at these indices."""
        return replace(self, examples=tuple(self.examples[index] for index in indices))

    def coco(self) -> dict:
        """Return the ground truth as a COCO dictionary with the image and category ids of the file."""
        annotations = [annotation for example in self for annotation in self._annotations(example)]
        return {
            "info": {"description": self.name},
            "images": [
                {"id": e.image_id, "file_name": e.path.name, "height": e.height, "width": e.width} for e in self
            ],
            "categories": [
                {"id": i, "name": name} for i, name in zip(self.category_ids, self.class_names, strict=True)
            ],
            # Ids start at 1, since COCO's matching treats id 0 as "no match".
            "annotations": [{"id": i, **annotation} for i, annotation in enumerate(annotations, start=1)],
        }

    def _annotations(self, example: Example) -> Iterator[dict]:
        rows = zip(example.boxes.tolist(), example.classes, example.crowd, example.area, strict=True)
        for (top, left, bottom, right), label, crowd, area in rows:
            yield {
                "image_id": example.image_id,
                "category_id": self.category_ids[label],
                "bbox": [left, top, right - left, bottom - top],
                "area": float(area),
                "iscrowd": int(crowd),
            }


@dataclass(frozen=True)
class ClassificationExample:
    """One image and its class."""

    path: Path
    label: int  # 0..C-1


@dataclass(frozen=True, eq=False)
class ClassificationDataset:
    """Images of `len(class_names)` classes, one class each."""

    name: str
    class_names: tuple[str, ...]
    examples: tuple[ClassificationExample, ...]
    max_pixels: int = MAX_PIXELS  # as in DetectionDataset

    def __len__(self) -> int:
        return len(self.examples)

    def __iter__(self) -> Iterator[ClassificationExample]:
        return iter(self.examples)

    def take(self, indices: Iterable[int]) -> ClassificationDataset:
        """Return the data set reduced to the images at these indices."""
        return replace(self, examples=tuple(self.examples[index] for index in indices))
