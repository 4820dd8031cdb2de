"""Files and folders that appear whole or not at all: a temporary name beside the target, the disk, then a rename."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

PART = ".part"  # ends the name of the hidden folder in which something is being written
MANY = 64  # files; from here on the whole disk is flushed once, since to flush one file takes some 4 ms

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_PERMISSION = (errno.EACCES, errno.EPERM, errno.EROFS)


class WriteError(OSError):
    """Something that could not be written, and why; what stood in its place still stands."""

    def __init__(self, target: Path, reason: str):
        super().__init__(f"{target} was not written, what stood there still stands: {reason}.")
        self.reason = reason


@contextmanager
def staged(
    target: str | os.PathLike, *, overwrite: bool = True, replaces: Callable[[Path], bool] = lambda folder: False
) -> Iterator[Path]:
    """Yield the path at which to write what shall appear at `target`; what is written beside it appears beside it.

    If the block raises, nothing appears and what stood there still stands. It is on the disk when it appears. A folder
    is put in the place of another only if that `replaces` says so. A single file is replaced in one step; where a
    folder is, the old one steps aside first, and a process that is killed just then leaves it in a hidden folder.

    Raises:
        FileExistsError: something is in the way and `overwrite` is False, or it is a folder of something else.
        FileNotFoundError: there is no folder to write into.
        WriteError: the disk is full or read only, or the user may not write here.
    """
    target = Path(target)
    if not target.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {target.parent} to write into.")
    _refuse_existing(target, overwrite, replaces)
    with _explained(target), _workplace(target) as folder:
        yield folder / target.name
        written = sorted(folder.iterdir(), key=lambda path: (path.name == target.name, path.name))  # the target last
        for path in written:
            _refuse_existing(target.parent / path.name, overwrite, replaces)
        _flush_all(folder)
        _move(written, target.parent, folder / ".replaced")
        _flush_folder(target.parent)  # a rename is durable when its folder is


def write_whole(path: str | os.PathLike, content: str | bytes | memoryview, *, overwrite: bool = True) -> None:
    """Write a file, text as UTF-8; it appears whole or not at all. Raises as `staged` does."""
    with staged(path, overwrite=overwrite) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes `path` when the block ends, and vanishes if it fails; parents are made.

    Raises:
        FileExistsError: there is something at `path`.
        WriteError: as `staged` does.
    """
    if path.exists():
        raise FileExistsError(f"{path} exists; delete it or choose another folder.")
    with made(path.parent), staged(path, overwrite=False) as workplace:
        workplace.mkdir()
        yield workplace


@contextmanager
def made(folder: Path) -> Iterator[None]:
    """Make a folder and its parents, where they are missing, for what the block writes; they vanish if it fails.

    Raises:
        WriteError: as `staged` does.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        with _explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for path in missing:
            with suppress(OSError):  # it was not made, or somebody else has put something into it
                path.rmdir()
        raise


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left behind half-written in a folder that no other process writes to now."""
    for left in folder.glob(f".*{PART}"):
        shutil.rmtree(left, ignore_errors=True)


@contextmanager
def _workplace(target: Path) -> Iterator[Path]:
    naming: Any = {"prefix": f".{target.name}-", "suffix": PART, "dir": target.parent}
    with tempfile.TemporaryDirectory(**naming, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextmanager
def _explained(target: Path) -> Iterator[None]:
    """Say of errors for want of room or permission, from whichever library, what they mean for the target."""
    try:
        yield
    except Exception as error:
        reason = _reason(error)
        if reason is None:
            raise
        raise WriteError(target, reason) from error


def _reason(error: Exception) -> str | None:
    if isinstance(error, WriteError):  # of a part of the target
        return error.reason
    if isinstance(error, OSError) and error.errno in _NO_PERMISSION:
        is_ours = error.filename is None or PART in str(error.filename)  # else it is one that the block reads
        return os.strerror(error.errno) + ("" if is_ours else f": {error.filename}")
    # TensorFlow's errors carry no number, but the system's words.
    told = [os.strerror(code) for code in _NO_ROOM if getattr(error, "errno", None) == code]
    return next((words for words in told or map(os.strerror, _NO_ROOM) if told or words in str(error)), None)


def _refuse_existing(path: Path, overwrite: bool, replaces: Callable[[Path], bool]) -> None:
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists. Pass overwrite=True (--overwrite) to replace it.")
    if path.is_dir() and not replaces(path):
        raise FileExistsError(f"{path} is a folder of something else, it is never replaced.")


def _move(written: list[Path], folder: Path, aside: Path) -> None:
    """Rename files and folders into `folder`; after an error, those that they replaced come back."""
    aside.mkdir()
    try:
        for path in written:
            target = folder / path.name
            if target.exists() and (len(written) > 1 or target.is_dir() or path.is_dir()):
                _keep(target, aside / path.name)
            os.replace(path, target)
    except BaseException:
        for path in written:
            _take_back(path, folder / path.name, aside / path.name)
        raise


def _keep(target: Path, kept: Path) -> None:
    """Let a folder step aside; a file gets a second name, so that it is there until it is replaced."""
    try:
        os.link(target, kept)
    except OSError:  # a folder, or a file system without links
        os.rename(target, kept)


def _take_back(path: Path, target: Path, kept: Path) -> None:
    if kept.exists():
        if target.is_dir():
            os.rename(target, path)
        os.replace(kept, target)
    elif not path.exists():  # it was moved where nothing stood
        os.rename(target, path)


def _flush_all(folder: Path) -> None:
    """Bring files and folders to the disk: a rename may overtake what was written before."""
    paths = [folder, *folder.rglob("*")]
    if len(paths) > MANY and hasattr(os, "sync"):
        os.sync()
        return
    for path in paths:
        if path.is_dir():
            _flush_folder(path)
        elif path.is_file():
            _flush(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)


def _flush_folder(path: Path) -> None:
    with suppress(OSError, AttributeError):  # not every system opens folders, nor does every file system flush them
        _flush(path, os.O_DIRECTORY)


def _flush(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
