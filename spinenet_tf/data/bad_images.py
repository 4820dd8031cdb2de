"""Record bad image files, which training skips up to a limit."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Iterable

from spinenet_tf._files.messages import SHOWN, some_of
from spinenet_tf.data.dataset import DataError

logger = logging.getLogger(__name__)

HINT = "`spinenet-tf dataset check` lists all of them"


class BadImages:
    """The unusable files of a training set: the first ones are logged, and too many raise DataError.

    `limit` is the fraction of all images that may be bad. `count_among` sets the total once the annotations are read;
    files that were skipped before count too. Several threads may call `add`.
    """

    def __init__(self, limit: float = 0.0):
        if not 0 <= limit < 1:
            raise ValueError(f"`limit` must be at least 0 and less than 1. Received: {limit=}")
        self.limit = limit
        self.found: dict[str, str] = {}  # file -> error message
        self._total: int | None = None
        self._lock = threading.Lock()

    def __contains__(self, file: object) -> bool:
        return str(file) in self.found

    def __len__(self) -> int:
        return len(self.found)

    def add(self, file: object, error: DataError) -> None:
        """Record a bad file; raises DataError as `check` does."""
        with self._lock:
            if file in self:
                return
            self.found[str(file)] = str(error)
            count = len(self)
        if count <= SHOWN:
            logger.warning("Bad image %d, skipped in training: %s", count, error)
        elif count == SHOWN + 1:
            logger.warning("More images are bad and skipped: %s.", HINT)
        self.check()

    def log_count(self) -> None:
        """Log the number of bad files so far, unless each of them was logged."""
        if len(self) > SHOWN:
            logger.warning("%d of %d images are bad and skipped in training.", len(self), self._total)

    def count_among(self, files: Iterable[object]) -> None:
        """Set the total to `files` and those already recorded; raises DataError as `check` does."""
        self._total = len({*map(str, files), *self.found})
        self.check()

    def check(self) -> None:
        """Raise DataError with the first bad files if there are more than the limit."""
        if self._total is None or len(self) <= math.floor(self.limit * self._total):
            return
        listed = some_of(sorted(self.found.values()), "; ")
        raise DataError(
            f"{len(self)} of {self._total} images are bad, more than max_bad_images={self.limit:g} allows: {listed}"
        )
