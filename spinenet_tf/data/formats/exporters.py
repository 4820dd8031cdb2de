"""COCO's entries as exporters write them, brought into what COCO itself has where their meaning is plain.

What is not plain stays as it is, for `annotations.to_dataset` to refuse.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from spinenet_tf.data.dataset import DataError, ImageError
from spinenet_tf.data.files import find_inside
from spinenet_tf.data.formats.annotations import Entry, is_int64
from spinenet_tf.data.formats.masks import box_of
from spinenet_tf.data.problems import Place, Problems

_NUMBER = re.compile(r"[+-]?[0-9]{1,40}(\.[0-9]{0,40})?([eE][+-]?[0-9]{1,3})?")
_EXACT = 2**53  # doubles hold all integers below

Size = tuple[int, int]
Tell = Callable[[], Place]


class Notes:
    """What was understood, told once of each kind: where it was first, and how often it was."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[Place, int]] = {}

    def add(self, message: str, place: Tell) -> None:
        """Count a message; `place` is asked for where the first of its kind is."""
        first, times = self._found.get(message) or (place(), 0)
        self._found[message] = first, times + 1

    def tell(self, problems: Problems) -> None:
        """Note what was counted."""
        for message, (place, times) in self._found.items():
            problems.note(place, message if times == 1 else f"{message} (the first of {times})")


def read_category(entry: Entry, place: Tell, notes: Notes) -> Entry:
    """Return the category with an integer as its id."""
    return entry | _integers(entry, ("id",), place, notes)


def read_image(
    entry: Entry, place: Tell, notes: Notes, root: Path, prefixes: tuple[str, ...], size_of: Callable[[Path], Size]
) -> Entry:
    """Return the image with the name of a file in `root`, and integers; `size_of` gives the height and width of a file.

    A name is taken as it stands; if there is no such file, a backslash is read as a slash, and then one of `prefixes`
    is left out.
    """
    changed = _integers(entry, ("id", "height", "width"), place, notes)
    name = _stored_name(root, entry.get("file_name"), prefixes)
    if name != entry.get("file_name"):
        notes.add("there is no file of this name, and another was read: with / for \\, or without its folder", place)
        changed["file_name"] = name
    missing = [side for side in ("height", "width") if entry.get(side) is None]
    if missing:
        try:
            size = dict(zip(("height", "width"), size_of(find_inside(root, name)), strict=True))
        except DataError:  # which is told where the image itself is read
            return entry | changed
        notes.add(f"{' and '.join(missing)} of the image: not given, and read from its file", place)
        changed |= {side: size[side] for side in missing}
    return entry | changed


def read_annotation(entry: Entry, place: Tell, notes: Notes, sizes: dict[int, Size]) -> Entry:
    """Return the annotation with numbers, without keys that are null, and with a box; `sizes` are by image id."""
    for key in ("area", "iscrowd"):
        if key in entry and entry[key] is None:
            notes.add(f"{key} is null, and read as not given", place)
            entry = {other: value for other, value in entry.items() if other != key}
    changed = _integers(entry, ("id", "image_id", "category_id", "iscrowd"), place, notes)
    box, area = entry.get("bbox"), entry.get("area")
    if isinstance(area, str) and (number := _number(area)) is not None:
        changed["area"] = number
        notes.add("area is text, and read as a number", place)
    if isinstance(box, list) and any(isinstance(value, str) for value in box):
        numbers = [_number(value) if isinstance(value, str) else value for value in box]
        if None not in numbers:
            changed["bbox"] = numbers
            notes.add("bbox holds text, and is read as numbers", place)
    if box is None or box == []:
        image = changed.get("image_id", entry.get("image_id"))
        found = box_of(entry.get("segmentation"), sizes[image] if is_int64(image) and image in sizes else (0, 0))
        if found is not None:
            changed["bbox"] = found
            notes.add("the box is not given, and read from the segmentation", place)
    return entry | changed


def with_ids(annotations: list[Entry], place: Callable[[Entry], Place], notes: Notes) -> list[Entry]:
    """Give a free id to each annotation that has none, or one that was there before; "_at" keeps the place of these."""
    own = {entry["id"] for entry in annotations if is_int64(entry.get("id"))}
    free, seen, numbered = (number for number in count(1) if number not in own), set(), []
    for entry in annotations:
        key = entry.get("id")
        if key is None or (is_int64(key) and key in seen):
            at = place(entry)
            told = "the id is not given" if key is None else "the id is used twice"
            notes.add(f"{told}, and a free one taken", partial(place, entry))
            entry = entry | {"id": next(free), "_at": at}
        elif is_int64(key):
            seen.add(key)
        numbered.append(entry)
    return numbered


def _integers(entry: Entry, keys: tuple[str, ...], place: Tell, notes: Notes) -> Entry:
    """Return those of `keys` that are integers beyond doubt, but written as text or with a decimal point."""
    changed = {}
    for key in keys:
        value = entry.get(key)
        if isinstance(value, str | float) and is_int64(number := _integer(value)):
            changed[key] = number
            kind = "text" if isinstance(value, str) else "a decimal"
            notes.add(f"{key} is {kind}, and read as an integer", place)
    return changed


def _integer(value: str | float) -> int | None:
    if isinstance(value, str):
        if re.fullmatch(r"[+-]?[0-9]{1,40}", text := value.strip()):
            return int(text)
        value = _number(text) or math.nan
    return int(value) if value.is_integer() and abs(value) < _EXACT else None


def _number(text: str) -> float | None:
    return float(text) if _NUMBER.fullmatch(text.strip()) else None


def _stored_name(root: Path, name: Any, prefixes: tuple[str, ...]) -> Any:
    """Return `name` as a file in `root` spells it; `name` itself if there is no such file, or it leads out."""
    if not isinstance(name, str) or not ("\\" in name or name.startswith(prefixes)):
        return name
    slashed = name.replace("\\", "/")
    for tried in (name, slashed, *(slashed.removeprefix(prefix) for prefix in prefixes)):
        try:
            find_inside(root, tried)
        except ImageError:
            continue
        except DataError:
            break
        return tried
    return name
