"""Repeat work, such as saving, only as often as it takes a small share of the time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

SHARE = 0.03  # of the time: an epoch may be two steps long, and saving takes seconds


class Pace:
    """Tell when work is due again: when it has taken at most `SHARE` of the time since it last began."""

    def __init__(self) -> None:
        self._due = 0.0

    def is_due(self) -> bool:
        """Return whether enough time has passed; True before the first time."""
        return time.monotonic() >= self._due

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Measure the time that the work inside takes."""
        start = time.monotonic()
        yield
        self._due = start + (time.monotonic() - start) / SHARE
