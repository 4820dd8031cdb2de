"""Find the ids of images by file name, and of categories by name, in a COCO annotation file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from spinenet_tf._files.messages import some_of
from spinenet_tf.data.dataset import DataError
from spinenet_tf.data.formats.annotations import Entry, is_int64
from spinenet_tf.data.formats.coco import read_json


class CocoIds:
    """The ids in a COCO annotation file. Its images need not be there.

    Raises:
        DataError: the file is missing or not COCO.
    """

    def __init__(self, annotations: Path):
        content = read_json(annotations, ("images", "categories"))
        self._file = annotations
        self._images = _ids_by_name(content["images"], "file_name")
        self._categories = _ids_by_name(content["categories"], "name")

    def of_images(self, names: Iterable[str]) -> list[int]:
        """Return the ids of images by their file names, without folders.

        Raises:
            DataError: the file has no image of a name, several, or one without an integer id.
        """
        return [self._only("image", self._images, name) for name in names]

    def of_classes(self, names: Sequence[str]) -> list[int | None]:
        """Return the category ids of a model's classes by their names; None for a class that the file does not have.

        Raises:
            DataError: the file has none of the classes, several categories of a name, or one without an integer id.
        """
        if not any(name in self._categories for name in names):
            classes, categories = some_of(names, show=repr), some_of(self._categories, show=repr) or "none"
            raise DataError(f"{self._file} has none of the model's classes {classes}. Its categories: {categories}.")
        return [self._only("category", self._categories, name) if name in self._categories else None for name in names]

    def _only(self, noun: str, ids: dict[str, list[Any]], name: str) -> int:
        found = ids.get(name, [])
        if not found:
            raise DataError(f"{self._file} has no {noun} named {name!r}.")
        if len(found) > 1:
            raise DataError(
                f"{self._file} has {len(found)} entries for {noun} {name!r}, with the ids {some_of(found)}."
            )
        if not is_int64(found[0]):
            raise DataError(f"{self._file}: {noun} ids must be integers. Received: {name!r} with id={found[0]!r}")
        return found[0]


def _ids_by_name(entries: Iterable[Entry], key: str) -> dict[str, list[Any]]:
    """Return all ids by the last part of each name: `val2017/a.jpg` is the file `a.jpg`."""
    found: dict[str, list[Any]] = {}
    for entry in entries:
        name = entry.get(key)
        if isinstance(name, str):
            name = name.replace("\\", "/").rpartition("/")[2] if key == "file_name" else name
            found.setdefault(name, []).append(entry.get("id"))
    return found
