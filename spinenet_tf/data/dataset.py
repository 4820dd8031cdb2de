"""The contract between file formats and everything that trains or evaluates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp")
MAX_PIXELS = 64_000_000  # of an image, where nobody says otherwise
PILLOW_MAX_PIXELS = 89_478_485  # the most there can be: above, Pillow warns, and then refuses


class DataError(ValueError):
    """A fault in a user's images or annotations, told in one line that names the file."""


class ImageError(DataError):
    """A fault of one image file, which training can do without."""


class ImageFile(Protocol):
    """An encoded image wherever it lies: a `Path`, or a part of another file. As text it says where that is."""

    @property
    def name(self) -> str:
        """The file's name, without folders."""

    def read_bytes(self) -> bytes:
        """Return the encoded image."""


@dataclass(frozen=True, eq=False)
class Example:
    """One image and its objects; sizes and boxes in pixels of the file as it is seen (EXIF rotation applied)."""

    image_id: int
    path: ImageFile
    height: int
    width: int
    boxes: np.ndarray  # [N, 4] float32, yxyx, inside the image
    classes: np.ndarray  # [N] int32, 0..C-1
    crowd: np.ndarray  # [N] bool: the box covers a group, never trained on, never counted as missed
    area: np.ndarray  # [N] float32, square pixels of the object's mask where the file knows it, else of its box

    @property
    def trainable(self) -> np.ndarray:
        """`[N]` bool: the objects to learn from."""
        return ~self.crowd


@dataclass(frozen=True, eq=False)
class DetectionDataset:
    """Images with boxes of `len(class_names)` classes, whatever format they came from."""

    name: str
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]  # the file's own ids, in class order
    examples: tuple[Example, ...]
    max_pixels: int = MAX_PIXELS  # of an image: larger ones are refused by their headers

    def __len__(self) -> int:
        return len(self.examples)

    def __iter__(self) -> Iterator[Example]:
        return iter(self.examples)

    def take(self, indices: Iterable[int]) -> DetectionDataset:
        """Return the data set with some of the images, by their places."""
        return replace(self, examples=tuple(self.examples[index] for index in indices))

    def coco(self) -> dict:
        """Return the ground truth as a COCO dictionary with the file's own image and category ids."""
        annotations = [annotation for example in self for annotation in self._annotations(example)]
        return {
            "info": {"description": self.name},
            "images": [
                {"id": e.image_id, "file_name": e.path.name, "height": e.height, "width": e.width} for e in self
            ],
            "categories": [
                {"id": i, "name": name} for i, name in zip(self.category_ids, self.class_names, strict=True)
            ],
            # COCO's matching reads id 0 as "no match", so ids start at 1.
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
    max_pixels: int = MAX_PIXELS  # as of a detection data set

    def __len__(self) -> int:
        return len(self.examples)

    def __iter__(self) -> Iterator[ClassificationExample]:
        return iter(self.examples)

    def take(self, indices: Iterable[int]) -> ClassificationDataset:
        """Return the data set with some of the images, by their places."""
        return replace(self, examples=tuple(self.examples[index] for index in indices))
