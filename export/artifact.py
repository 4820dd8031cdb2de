"""An artifact on disk: it appears whole, with the files that belong beside it, or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spinenet_tf import writing

# A file that tells a folder of ours, in a SavedModel or a web page, from a user's own.
_MARKS = ("saved_model.pb", "detector.js")


@contextmanager
def staged(target: str | os.PathLike, overwrite: bool) -> Iterator[Path]:
    """Yield the path at which to write what shall appear at `target`, as `writing.staged` does, and raise as it does.

    With `overwrite`, a folder that an export wrote is replaced.
    """
    with writing.staged(target, overwrite=overwrite, replaces=_is_export) as path:
        yield path


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _is_export(folder: Path) -> bool:
    return any((folder / mark).is_file() for mark in _MARKS)
