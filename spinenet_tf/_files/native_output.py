"""What C++ libraries print past Python: kept off the screen where it tells users nothing."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Lock

DEBUG = "SPINENET_TF_DEBUG"
_STREAMS = (1, 2)


@contextmanager
def hidden() -> Iterator[None]:
    """Drop what native code writes to standard output and error; with `SPINENET_TF_DEBUG` set, show it.

    The streams are the whole process's: what Python writes meanwhile, in any thread, may be dropped as well. Blocks of
    several threads may overlap.
    """
    if os.environ.get(DEBUG):
        yield
        return
    _nowhere.enter()
    try:
        yield
    finally:
        _nowhere.leave()


class _Nowhere:
    """Leads standard output and error nowhere, from the begin of the first of all blocks to the end of the last.

    If each block restored what it had met, one thread could restore the redirection of another, and for good.
    """

    def __init__(self) -> None:
        self._lock, self._blocks = Lock(), 0
        self._opened: list[int] = []
        self._kept: dict[int, int] = {}  # copies of the streams by their numbers

    def enter(self) -> None:
        with self._lock:
            if not self._blocks:
                self._redirect()
            self._blocks += 1

    def leave(self) -> None:
        with self._lock:
            self._blocks -= 1
            if not self._blocks:
                self._restore()

    def _redirect(self) -> None:
        for stream in (sys.stdout, sys.stderr):
            with suppress(AttributeError, OSError, ValueError):  # there is none, or it is closed
                stream.flush()  # what was printed before
        self._opened = [os.open(os.devnull, os.O_WRONLY)]
        while self._opened[-1] <= max(_STREAMS):  # it took the number of a stream that is closed, as services do
            self._opened.append(os.open(os.devnull, os.O_WRONLY))
        self._kept = {fd: os.dup(fd) for fd in _STREAMS}
        for fd in _STREAMS:
            os.dup2(self._opened[-1], fd)

    def _restore(self) -> None:
        for fd, copy in self._kept.items():
            os.dup2(copy, fd)
        for fd in (*self._kept.values(), *self._opened):
            os.close(fd)


_nowhere = _Nowhere()


def import_tensorflow() -> None:
    """Keep off the screen what TensorFlow's C++ tells every user on import: that a machine has no GPU, and the like."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before JAX, which Keras imports, sets it to 1
    with hidden():
        import tensorflow  # noqa: F401
