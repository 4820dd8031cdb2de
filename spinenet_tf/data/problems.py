"""What is wrong with a data set, entry by entry: reading stops at the first fault, a check lists them all."""

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
    """Make what hostile files put into a message printable, and cut it."""
    line = " ".join(text.encode(errors="backslashreplace").decode().split())
    return line if len(line) <= longest else f"{line[: longest - 3]}..."


class Place(NamedTuple):
    """Where something is said: the file, and which of its entries."""

    file: Path
    entry: str = ""  # "annotation 6", "line 3", "record 12"; empty for the file as a whole

    def __str__(self) -> str:
        return f"{self.file}: {_in_a_line(self.entry, 100)}" if self.entry else str(self.file)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong."""

    place: Place
    message: str
    refused: bool  # reading stops there; otherwise it goes on without the entry, or with what is left of it


class Problems:
    """Decide what a fault does: raise a DataError that names its place, or, to `keep_going`, join the list `found`.

    With `bad_images`, faults of image files are noted there, and reading goes on without these images. An image of more
    than `max_pixels` is a fault.
    """

    def __init__(
        self, keep_going: bool = False, max_pixels: int = MAX_PIXELS, bad_images: BadImages | None = None
    ) -> None:
        self.keep_going, self.max_pixels, self.bad_images = keep_going, max_pixels, bad_images
        self.found: list[Problem] = []

    @contextmanager
    def at(self, place: Place) -> Iterator[None]:
        """Give a DataError from inside the block its place, if it does not begin with it; or list it and go on."""
        try:
            yield
        except DataError as error:
            message = _in_a_line(str(error).removeprefix(f"{place}: ").removeprefix(f"{place.file}: "), LONGEST)
            if self.keep_going:
                self.found.append(Problem(place, message, refused=True))
            elif isinstance(error, ImageError) and self.bad_images is not None:
                self.bad_images.add(place, ImageError(f"{place}: {message}"))
            else:
                raise type(error)(f"{place}: {message}") from None

    def note(self, place: Place, message: str) -> None:
        """List what readers cope with, where somebody reads the list: to `keep_going`."""
        if self.keep_going:
            self.found.append(Problem(place, _in_a_line(message, LONGEST), refused=False))

    def warn(self, place: Place, message: str) -> None:
        """Note, or else log, what a reader takes one way, and what may have been meant another way."""
        self.note(place, message)
        if not self.keep_going:
            logger.warning("%s: %s", place, message)
