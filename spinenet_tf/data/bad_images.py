"""Image files that training leaves out, and how many of them it puts up with."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Iterable

from spinenet_tf._files.messages import SHOWN, some_of
from spinenet_tf.data.dataset import DataError

logger = logging.getLogger(__name__)

HINT = "`spinenet-tf dataset check` names all of them"


class BadImages:
    """The files of a training set that cannot be used: the first are named in the log, and too many are an error.

    `limit` is the fraction of all images that may be bad. All images are told by `count_among`, when the annotations
    have been read; a file that was left out before counts too. Threads may add at the same time.
    """

    def __init__(self, limit: float = 0.0):
        if not 0 <= limit < 1:
            raise ValueError(f"The limit of bad images lies in 0..1, without 1. Received: {limit=}")
        self.limit = limit
        self.found: dict[str, str] = {}  # what is wrong, by the file
        self._total: int | None = None
        self._lock = threading.Lock()

    def __contains__(self, file: object) -> bool:
        return str(file) in self.found

    def __len__(self) -> int:
        return len(self.found)

    def add(self, file: object, error: DataError) -> None:
        """Note that a file is bad; raises DataError as `check` does."""
        with self._lock:
            if file in self:
                return
            self.found[str(file)] = str(error)
            count = len(self)
        if count <= SHOWN:
            logger.warning("Bad image %d, left out of training: %s", count, error)
        elif count == SHOWN + 1:
            logger.warning("More images are bad: they are left out and counted, %s.", HINT)
        self.check()

    def tell(self) -> None:
        """Say in the log how many files are bad until now, if they were not all named."""
        if len(self) > SHOWN:
            logger.warning("%d of %d images are bad and left out of training.", len(self), self._total)

    def count_among(self, files: Iterable[object]) -> None:
        """Tell what files there are, beside those that were left out before; raises DataError as `check` does."""
        self._total = len({*map(str, files), *self.found})
        self.check()

    def check(self) -> None:
        """Raise DataError with the first of the bad files, where they are more than the limit."""
        if self._total is None or len(self) <= math.floor(self.limit * self._total):
            return
        listed = some_of(sorted(self.found.values()), "; ")
        raise DataError(
            f"{len(self)} of {self._total} images are bad, and max_bad_images={self.limit:g} of them may be: {listed}"
        )
