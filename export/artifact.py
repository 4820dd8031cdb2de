"""An artifact on disk: it appears whole, with the files that belong beside it, or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# A file that tells a folder of ours, in a SavedModel or a web page, from a user's own.
_MARKS = ("saved_model.pb", "detector.js")


@contextmanager
def staged(target: str | os.PathLike, overwrite: bool) -> Iterator[Path]:
    """Yield the path at which to write what shall appear at `target`; what is written beside it appears beside it.

    If the block raises, nothing appears and what stood at `target` still stands.

    Raises:
        FileExistsError: something is in the way and `overwrite` is False, or it is a folder of something else.
        FileNotFoundError: there is no folder to write into.
    """
    target = Path(target)
    if not target.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {target.parent} to write into.")
    _refuse_existing(target, overwrite)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as folder:
        yield Path(folder, target.name)
        written = sorted(Path(folder).iterdir())
        for path in written:
            _refuse_existing(target.parent / path.name, overwrite)
        replaced = Path(folder, ".replaced")
        replaced.mkdir()
        for path in written:
            _move(path, target.parent / path.name, replaced)


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _refuse_existing(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists. Pass overwrite=True (--overwrite) to replace it.")
    if path.is_dir() and not any((path / mark).is_file() for mark in _MARKS):
        raise FileExistsError(f"{path} is a folder that was not written by an export, it is never replaced.")


def _move(path: Path, target: Path, replaced: Path) -> None:
    """Put a file or folder in place of another; where a folder is involved, the old one has to step aside first."""
    if target.exists() and (target.is_dir() or path.is_dir()):
        shutil.move(target, replaced / target.name)
    os.replace(path, target)
