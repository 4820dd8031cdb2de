"""Parse rows of YOLO label files: a class, and numbers whose count determines their meaning."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal, NamedTuple

from spinenet_tf.data.dataset import DataError

LAST_CLASS = 99_999  # limit, since without names every number up to the largest becomes a class
FAR = 2.0  # no relative coordinate is this large, even if the box exceeds the image
LIKE = "pixels or percent, or like keypoints, which need 'kpt_shape' in data.yaml"

Box = tuple[float, float, float, float]
Six = Literal["box", "polygon"]  # the meaning of rows with six numbers


class Keypoints(NamedTuple):
    """The shape of pose labels: number of points, and 2 coordinates per point, or 3 with a visibility."""

    points: int
    dimensions: int


class Row(NamedTuple):
    """One object: its class, and its numbers with their meaning."""

    label: int
    kind: Literal["box", "polygon", "six"]  # "six": box or polygon, see `meaning_of_six`
    numbers: tuple[float, ...]  # a box's x, y, width, height; a polygon's x, y, x, y ...; all six

    def polygon(self, six: Six) -> tuple[float, ...] | None:
        """Return a polygon's x, y, x, y ... relative to the image, reading six numbers as `six`; None for a box."""
        return self.numbers if self.kind == "polygon" or (self.kind, six) == ("six", "polygon") else None

    def box(self, six: Six) -> Box:
        """Return `(left, top, width, height)` relative to the image, reading six numbers as `six`.

        Raises:
            DataError: the numbers cannot be relative to the image.
        """
        numbers: tuple[float, ...] = self.numbers[:4]
        if (polygon := self.polygon(six)) is not None:
            left, top, right, bottom = numbers = _bounds(polygon)
            box = left, top, right - left, bottom - top
        else:
            x, y, width, height = numbers
            box = x - width / 2, y - height / 2, width, height
        if any(FAR <= abs(number) < math.inf for number in numbers):
            raise DataError(
                f"numbers must be fractions of the image; these look like {LIKE}. Received: {list(numbers)}"
            )
        return box


def read_row(line: str, keypoints: Keypoints | None = None) -> Row:
    """Parse a non-blank line.

    After the class come four numbers of a box, optionally followed by a confidence and a track id, or the points of a
    polygon. With `keypoints`, a box and the coordinates of the points follow.

    Raises:
        DataError: the line has another form.
    """
    try:
        label, *numbers = (float(word) for word in line.split())
    except ValueError:
        raise DataError(f"a line must consist of numbers. Received: {line!r:.200}") from None
    kind = _kind(len(numbers), keypoints)
    if kind is None or not 0 <= label <= LAST_CLASS or not label.is_integer():
        raise DataError(f"a line must be {_expected(keypoints)}. Received: {line!r:.200}")
    if kind == "polygon":
        _bounds(numbers)
    return Row(int(label), kind, tuple(numbers[: 4 if kind == "box" else None]))


def meaning_of_six(rows: Iterable[Row]) -> Six | None:
    """Determine the meaning of six numbers from all rows of a data set; None if it is ambiguous.

    If the data set has polygons, they are three points. Otherwise, if a sixth number is above 1, and so not a
    coordinate, they are a box with confidence and track id.
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


def _expected(keypoints: Keypoints | None) -> str:
    if keypoints is None:
        return "a class, x, y, width and height, or a class and a polygon; keypoints need 'kpt_shape' in data.yaml"
    return f"a class, x, y, width and height, and keypoints as kpt_shape {list(keypoints)} says"


def _bounds(numbers: Iterable[float]) -> Box:
    """Return the left, top, right and bottom of a polygon; raise DataError if they are not finite."""
    numbers = list(numbers)
    if not all(map(math.isfinite, numbers)):
        raise DataError(f"a polygon must be finite numbers. Received: {numbers[:20]}")
    xs, ys = numbers[0::2], numbers[1::2]
    return min(xs), min(ys), max(xs), max(ys)
