"""Hide what C++ libraries print directly to the terminal."""

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
    """Discard what native code writes to standard output and error, unless `SPINENET_TF_DEBUG` is set.

    The streams belong to the whole process: what Python writes meanwhile, in any thread, may be lost as well. Blocks in
    several threads may overlap.
    """
    if os.environ.get(DEBUG):
        yield
        return
    _redirection.enter()
    try:
        yield
    finally:
        _redirection.leave()


class _Redirection:
    """Redirect standard output and error to the null device while at least one block is active.

    If each block restored the streams that it found, one thread could restore another thread's redirection for good.
    """

    def __init__(self) -> None:
        self._lock, self._blocks = Lock(), 0
        self._opened: list[int] = []
        self._kept: dict[int, int] = {}  # file descriptor -> its copy

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
            with suppress(AttributeError, OSError, ValueError):  # the stream is missing or closed
                stream.flush()  # what was printed before
        self._opened = [os.open(os.devnull, os.O_WRONLY)]
        while self._opened[-1] <= max(_STREAMS):  # a closed stream (as in services) left its number free
            self._opened.append(os.open(os.devnull, os.O_WRONLY))
        self._kept = {fd: os.dup(fd) for fd in _STREAMS}
        for fd in _STREAMS:
            os.dup2(self._opened[-1], fd)

    def _restore(self) -> None:
        for fd, copy in self._kept.items():
            os.dup2(copy, fd)
        for fd in (*self._kept.values(), *self._opened):
            os.close(fd)


_redirection = _Redirection()


def import_tensorflow() -> None:
    """Import TensorFlow without its C++ log messages, such as that the machine has no GPU."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before JAX, which Keras imports, sets it to 1
    with hidden():
        import tensorflow  # noqa: F401
