"""What C++ libraries print past Python: kept off the screen where it tells users nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

DEBUG = "SPINENET_TF_DEBUG"


@contextmanager
def hidden() -> Iterator[None]:
    """Drop what native code writes to standard output and error; with `SPINENET_TF_DEBUG` set, show it.

    Python's own output inside the block is dropped as well.
    """
    if os.environ.get(DEBUG):
        yield
        return
    kept, nowhere = {fd: os.dup(fd) for fd in (1, 2)}, os.open(os.devnull, os.O_WRONLY)
    try:
        for fd in kept:
            os.dup2(nowhere, fd)
        yield
    finally:
        for fd, copy in kept.items():
            os.dup2(copy, fd)
            os.close(copy)
        os.close(nowhere)


def import_tensorflow() -> None:
    """Keep off the screen what TensorFlow's C++ tells every user on import: that a machine has no GPU, and the like."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before JAX, which Keras imports, sets it to 1
    with hidden():
        import tensorflow  # noqa: F401
