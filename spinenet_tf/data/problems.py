"""Report errors in a data set per entry: reading stops at the first error, a check lists all."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from spinenet_tf.data.bad_images import BadImages
from spinenet_tf.data.dataset import MAX_PIXELS, DataError, ImageError

logger = logging.getLogger(__name__)

LONGEST = 1000  # characters of a message


def _in_a_line(text: str, longest: int) -> str:
    """Make untrusted text printable on one line, and truncate it."""
    line = " ".join(text.encode(errors="backslashreplace").decode().split())
    return line if len(line) <= longest else f"{line[: longest - 3]}..."


class Place(NamedTuple):
    """The location of a problem: a file, and an entry in it."""

    file: Path
    entry: str = ""  # "annotation 6", "line 3", "record 12"; empty for the file as a whole

    def __str__(self) -> str:
        return f"{self.file}: {_in_a_line(self.entry, 100)}" if self.entry else str(self.file)


@dataclass(frozen=True)
class Problem:
    """A problem in a data set."""

    place: Place
    message: str
    refused: bool  # an error that stops reading; otherwise the entry is skipped or repaired

    def __str__(self) -> str:
        return f"{'refused' if self.refused else 'noted'}: {self.place}: {self.message}"


class Problems:
    """Handle errors: raise a DataError that names the place or, with `keep_going`, add a problem to `found`.

    With `bad_images`, errors in image files are recorded there, and these images are skipped. An image with more than
    `max_pixels` is an error.
    """

    def __init__(
        self, keep_going: bool = False, max_pixels: int = MAX_PIXELS, bad_images: BadImages | None = None
    ) -> None:
        self.keep_going, self.max_pixels, self.bad_images = keep_going, max_pixels, bad_images
        self.found: list[Problem] = []

    @contextmanager
    def at(self, place: Place) -> Iterator[None]:
        """Add the place to a DataError raised in the block; or record the error and continue."""
        try:
            yield
        except DataError as error:
            message = _in_a_line(str(error).removeprefix(f"{place}: ").removeprefix(f"{place.file}: "), LONGEST)
            if self.keep_going:
                self.add(place, message, refused=True)
            elif isinstance(error, ImageError) and self.bad_images is not None:
                self.bad_images.add(place, ImageError(f"{place}: {message}"))
            else:
                raise type(error)(f"{place}: {message}") from None

    def note(self, place: Place, message: str) -> None:
        """Record a problem that the reader can handle; does nothing without `keep_going`."""
        self.add(place, message, refused=False)

    def add(self, place: Place, message: str, refused: bool) -> None:
        """Record a problem, which training may refuse; does nothing without `keep_going`."""
        if self.keep_going:
            self.found.append(Problem(place, _in_a_line(message, LONGEST), refused))

    def warn(self, place: Place, message: str) -> None:
        """Record a possible misinterpretation of the data; log it without `keep_going`."""
        self.note(place, message)
        if not self.keep_going:
            logger.warning("%s: %s", place, message)
