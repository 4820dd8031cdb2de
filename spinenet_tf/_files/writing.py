"""Write files and folders atomically: under a temporary name beside the target, flushed to disk, then renamed."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

PART = ".part"  # suffix of the hidden temporary folder
MANY = 64  # files; above this, one flush of the whole disk is faster than some 4 ms per file

_SHARED = 0o644  # mode of a file that other users may read
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_PERMISSION = (errno.EACCES, errno.EPERM, errno.EROFS)


class WriteError(OSError):
    """A file or folder could not be written; what was there before is unchanged."""

    def __init__(self, target: Path, reason: str):
        super().__init__(f"{target} was not written, and what was there is unchanged: {reason}.")
        self.reason = reason


@contextmanager
def staged(
    target: str | os.PathLike, *, overwrite: bool = True, replaces: Callable[[Path], bool] = lambda folder: False
) -> Iterator[Path]:
    """Yield a temporary path whose content moves to `target` when the block ends, with all files written beside it.

    If the block raises, nothing is moved, and what was at `target` is unchanged. Content is flushed to disk before the
    move. An existing folder is replaced only if `replaces(folder)` returns True. A single file is replaced in one step.
    A folder is first moved aside; a process that is killed at this moment leaves it in a hidden folder.

    Raises:
        FileExistsError: `target` exists and `overwrite` is False, or it is a folder that `replaces` rejects.
        FileNotFoundError: the parent folder does not exist.
        WriteError: the disk is full or read-only, or permission is denied.
    """
    target = Path(target)
    if not target.parent.is_dir():
        raise FileNotFoundError(f"The output folder {target.parent} does not exist.")
    _refuse_existing(target, overwrite, replaces)
    with explained(target), _workplace(target) as folder:
        yield folder / target.name
        written = sorted(folder.iterdir(), key=lambda path: (path.name == target.name, path.name))  # the target last
        for path in written:
            _refuse_existing(target.parent / path.name, overwrite, replaces)
        _flush_all(folder)
        _move(written, target.parent, folder / ".replaced")
        _flush_folder(target.parent)  # makes the rename durable


def write_whole(path: str | os.PathLike, content: str | bytes | memoryview, *, overwrite: bool = True) -> None:
    """Write a file atomically, text as UTF-8. Raises as `staged` does."""
    with staged(path, overwrite=overwrite) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)


def write_first(path: Path, content: str) -> bool:
    """Write a file unless it exists, and return whether it was written. Of several processes, only one succeeds.

    Nobody sees a file without its content: a complete file is linked to its name, which also works on network file
    systems.
    """
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".", suffix=PART) as file:
        file.write(content)
        os.fchmod(file.fileno(), _SHARED)  # temporary files are private
        file.flush()
        os.fsync(file.fileno())
        try:
            os.link(file.name, path)
        except FileExistsError:
            return False
    return True


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes `path` when the block ends, and is removed if it fails; creates parents.

    Raises:
        FileExistsError: `path` exists.
        WriteError: as `staged` does.
    """
    if path.exists():
        raise FileExistsError(f"{path} exists; delete it or choose another folder.")
    with made(path.parent), staged(path, overwrite=False) as workplace:
        workplace.mkdir()
        yield workplace


@contextmanager
def made(folder: Path) -> Iterator[None]:
    """Create a folder and its missing parents for the block to write into; remove them if the block fails.

    Raises:
        WriteError: as `staged` does.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        with explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for path in missing:
            with suppress(OSError):  # it was not created, or another process has written into it
                path.rmdir()
        raise


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary folders of killed processes. No other process may be writing to `folder`."""
    for left in folder.glob(f".*{PART}"):
        shutil.rmtree(left, ignore_errors=True)


@contextmanager
def _workplace(target: Path) -> Iterator[Path]:
    naming: Any = {"prefix": f".{target.name}-", "suffix": PART, "dir": target.parent}
    with tempfile.TemporaryDirectory(**naming, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextmanager
def explained(target: Path) -> Iterator[None]:
    """Turn errors about disk space or permission, from any library, into a WriteError; what writes has to clean up."""
    try:
        yield
    except Exception as error:
        reason = _reason(error)
        if reason is None:
            raise
        raise WriteError(target, reason) from error


def _reason(error: Exception) -> str | None:
    if isinstance(error, WriteError):  # from a part of the target
        return error.reason
    if isinstance(error, OSError) and error.errno in _NO_PERMISSION:
        is_ours = error.filename is None or PART in str(error.filename)  # otherwise it is a file that the block reads
        return os.strerror(error.errno) + ("" if is_ours else f": {error.filename}")
    # TensorFlow's errors have no errno, but contain the system's message.
    told = [os.strerror(code) for code in _NO_ROOM if getattr(error, "errno", None) == code]
    return next((words for words in told or map(os.strerror, _NO_ROOM) if told or words in str(error)), None)


def _refuse_existing(path: Path, overwrite: bool, replaces: Callable[[Path], bool]) -> None:
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists. Pass overwrite=True (--overwrite) to replace it.")
    if path.is_dir() and not replaces(path):
        raise FileExistsError(f"{path} is a folder with other content, which is never replaced.")


def _move(written: list[Path], folder: Path, aside: Path) -> None:
    """Rename files and folders into `folder`; after an error, restore what they replaced."""
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
    """Move a folder aside; hard-link a file instead, so that it exists until it is replaced."""
    try:
        os.link(target, kept)
    except OSError:  # a folder, or a file system without hard links
        os.rename(target, kept)


def _take_back(path: Path, target: Path, kept: Path) -> None:
    if kept.exists():
        if target.is_dir():
            os.rename(target, path)
        os.replace(kept, target)
    elif not path.exists():  # it was moved, and replaced nothing
        os.rename(target, path)


def _flush_all(folder: Path) -> None:
    """Flush files and folders to disk, since a rename may reach the disk before earlier writes."""
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
    with suppress(OSError, AttributeError):  # some systems cannot open folders, some file systems cannot flush them
        _flush(path, os.O_DIRECTORY)


def _flush(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
