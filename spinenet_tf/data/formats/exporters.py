"""Correct unambiguous deviations from COCO that some exporters write.

Ambiguous values stay unchanged, and `annotations.to_dataset` rejects them.
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
from spinenet_tf.data.formats.segmentations import box_of
from spinenet_tf.data.problems import Place, Problems

_NUMBER = re.compile(r"[+-]?[0-9]{1,40}(\.[0-9]{0,40})?([eE][+-]?[0-9]{1,3})?")
_EXACT = 2**53  # doubles represent all smaller integers exactly

Size = tuple[int, int]
Locate = Callable[[], Place]


class Notes:
    """Collect corrections, to report each kind once, with its first place and its count."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[Place, int]] = {}

    def add(self, message: str, place: Locate) -> None:
        """Count a message; call `place` for the first one of its kind."""
        first, times = self._found.get(message) or (place(), 0)
        self._found[message] = first, times + 1

    def report(self, problems: Problems) -> None:
        """Report each kind of correction to `problems`."""
        for message, (place, times) in self._found.items():
            problems.note(place, message if times == 1 else f"{message} (the first of {times})")


def read_category(entry: Entry, place: Locate, notes: Notes) -> Entry:
    """Return the category with its id as an integer."""
    return entry | _integers(entry, ("id",), place, notes)


def read_image(
    entry: Entry, place: Locate, notes: Notes, root: Path, prefixes: tuple[str, ...], size_of: Callable[[Path], Size]
) -> Entry:
    """Return the image with the name of a file in `root`, and with integers; `size_of` reads a file's height and width.

    If there is no file with the given name, backslashes are replaced by slashes, and then one of `prefixes` is removed.
    """
    changed = _integers(entry, ("id", "height", "width"), place, notes)
    name = _stored_name(root, entry.get("file_name"), prefixes)
    if name != entry.get("file_name"):
        notes.add(
            "there is no file with this name, but one with / instead of \\, or without the folder; it is used", place
        )
        changed["file_name"] = name
    missing = [side for side in ("height", "width") if entry.get(side) is None]
    if missing:
        try:
            size = dict(zip(("height", "width"), size_of(find_inside(root, name)), strict=True))
        except DataError:  # reported when the image itself is read
            return entry | changed
        notes.add(f"{' and '.join(missing)} of the image: missing, and read from its file", place)
        changed |= {side: size[side] for side in missing}
    return entry | changed


def read_annotation(entry: Entry, place: Locate, notes: Notes, sizes: dict[int, Size]) -> Entry:
    """Return the annotation with text converted to numbers, without null values, and with a box.

    `sizes` maps image ids to (height, width).
    """
    for key in ("area", "iscrowd"):
        if key in entry and entry[key] is None:
            notes.add(f"{key} is null, and treated as missing", place)
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
            notes.add("bbox contains text, and is read as numbers", place)
    if box is None or box == []:
        image = changed.get("image_id", entry.get("image_id"))
        found = box_of(entry.get("segmentation"), sizes[image] if is_int64(image) and image in sizes else (0, 0))
        if found is not None:
            changed["bbox"] = found
            notes.add("the box is missing, and computed from the segmentation", place)
    return entry | changed


def with_ids(annotations: list[Entry], place: Callable[[Entry], Place], notes: Notes) -> list[Entry]:
    """Assign an unused id to annotations whose id is missing or duplicate, and store their place in "_at"."""
    own = {entry["id"] for entry in annotations if is_int64(entry.get("id"))}
    free, seen, numbered = (number for number in count(1) if number not in own), set(), []
    for entry in annotations:
        key = entry.get("id")
        if key is None or (is_int64(key) and key in seen):
            at = place(entry)
            fault = "the id is missing" if key is None else "the id is used twice"
            notes.add(f"{fault}, and replaced by an unused one", partial(place, entry))
            entry = entry | {"id": next(free), "_at": at}
        elif is_int64(key):
            seen.add(key)
        numbered.append(entry)
    return numbered


def _integers(entry: Entry, keys: tuple[str, ...], place: Locate, notes: Notes) -> Entry:
    """Return the values of `keys` that are unambiguous integers, but written as text or with a decimal point."""
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
    """Return the spelling of `name` that is a file in `root`; `name` itself if there is none, or it leads out."""
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
