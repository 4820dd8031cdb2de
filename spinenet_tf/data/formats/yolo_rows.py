"""Rows of YOLO's label files: a class and numbers, whose count tells what they are."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal, NamedTuple

from spinenet_tf.data.dataset import DataError

LAST_CLASS = 99_999  # without names there is one class for every number up to the largest
FAR = 2.0  # no coordinate relative to the image is so large, also of a box that reaches out of it
LIKE = "pixels or percent, or like keypoints, which need 'kpt_shape' in data.yaml"

Box = tuple[float, float, float, float]
Six = Literal["box", "polygon"]  # what rows with six numbers are


class Keypoints(NamedTuple):
    """The shape of pose labels: so many points of two coordinates, or of these and a visibility."""

    points: int
    dimensions: int


class Row(NamedTuple):
    """One object: its class, and what the numbers behind it are."""

    label: int
    kind: Literal["box", "polygon", "six"]  # "six": one or the other, as `meaning_of_six` says for all rows
    numbers: tuple[float, ...]  # a box's x, y, width, height; a polygon's left, top, right, bottom; all six

    def box(self, six: Six) -> Box:
        """Return `(left, top, width, height)` relative to the image, with rows of six numbers read as told.

        Raises:
            DataError: the numbers cannot be relative to the image.
        """
        if self.kind == "six" and six == "polygon":
            return Row(self.label, "polygon", _bounds(self.numbers)).box(six)
        if self.kind == "polygon":
            left, top, right, bottom = numbers = self.numbers
            box = left, top, right - left, bottom - top
        else:
            x, y, width, height = numbers = self.numbers[:4]
            box = x - width / 2, y - height / 2, width, height
        if any(FAR <= abs(number) < math.inf for number in numbers):
            raise DataError(f"numbers are fractions of the image, these look like {LIKE}. Received: {list(numbers)}")
        return box


def read_row(line: str, keypoints: Keypoints | None = None) -> Row:
    """Read a line that is not blank.

    Behind the class stand a box of four numbers, also with a confidence, or with a confidence and the number of a
    track; or three and more points of a polygon. With `keypoints` it is a box and the coordinates of these points.

    Raises:
        DataError: it is none of these.
    """
    try:
        label, *numbers = (float(word) for word in line.split())
    except ValueError:
        raise DataError(f"a line is numbers. Received: {line!r:.200}") from None
    kind = _kind(len(numbers), keypoints)
    if kind is None or not 0 <= label <= LAST_CLASS or not label.is_integer():
        raise DataError(f"a line is {_told(keypoints)}. Received: {line!r:.200}")
    if kind == "polygon":
        return Row(int(label), kind, _bounds(numbers))
    return Row(int(label), kind, tuple(numbers[: 6 if kind == "six" else 4]))


def meaning_of_six(rows: Iterable[Row]) -> Six | None:
    """Tell from all rows of a data set what six numbers are; None if no row tells.

    Among polygons they are three points; else, where a sixth number is above 1 and so no coordinate, a box with a
    confidence and the number of a track.
    """
    rows = list(rows)
    if any(row.kind == "polygon" for row in rows):
        return "polygon"
    return "box" if any(row.kind == "six" and row.numbers[5] > 1 for row in rows) else None


def _kind(count: int, keypoints: Keypoints | None) -> Literal["box", "polygon", "six"] | None:
    if keypoints is not None:
        extra = count - 4 - keypoints.points * keypoints.dimensions
        return "box" if count == 4 or extra in (0, 1, 2) else None
    if count in (4, 5):
        return "box"
    if count == 6:
        return "six"
    return "polygon" if count >= 8 and count % 2 == 0 else None


def _told(keypoints: Keypoints | None) -> str:
    if keypoints is None:
        return "a class, x, y, width and height, or a class and a polygon; keypoints need 'kpt_shape' in data.yaml"
    return f"a class, x, y, width and height, and keypoints as kpt_shape {list(keypoints)} says"


def _bounds(numbers: Iterable[float]) -> Box:
    """Return the left, top, right and bottom of a polygon."""
    numbers = list(numbers)
    if not all(map(math.isfinite, numbers)):
        raise DataError(f"a polygon is finite numbers. Received: {numbers[:20]}")
    xs, ys = numbers[0::2], numbers[1::2]
    return min(xs), min(ys), max(xs), max(ys)
