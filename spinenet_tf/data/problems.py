"""What is wrong with a data set, entry by entry: reading stops at the first fault, a check lists them all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from spinenet_tf.data.dataset import DataError


class Place(NamedTuple):
    """Where something is said: the file, and which of its entries."""

    file: Path
    entry: str = ""  # "annotation 6", "line 3", "record 12"; empty for the file as a whole

    def __str__(self) -> str:
        return f"{self.file}: {self.entry}" if self.entry else str(self.file)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong."""

    place: Place
    message: str
    refused: bool  # reading stops there; otherwise it goes on without the entry, or with what is left of it


class Problems:
    """Decide what a fault does: raise a DataError that names its place, or, to `keep_going`, join the list `found`."""

    def __init__(self, keep_going: bool = False) -> None:
        self.keep_going = keep_going
        self.found: list[Problem] = []

    @contextmanager
    def at(self, place: Place) -> Iterator[None]:
        """Give a DataError from inside the block its place, if it does not begin with it; or list it and go on."""
        try:
            yield
        except DataError as error:
            message = str(error).removeprefix(f"{place}: ").removeprefix(f"{place.file}: ")
            if not self.keep_going:
                raise DataError(f"{place}: {message}") from None
            self.found.append(Problem(place, message, refused=True))

    def note(self, place: Place, message: str) -> None:
        """List what readers cope with."""
        self.found.append(Problem(place, message, refused=False))
