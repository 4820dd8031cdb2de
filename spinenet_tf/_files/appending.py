"""Append lines to a file that a process may leave incomplete when it is killed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from spinenet_tf._files.locks import wait_for_lock
from spinenet_tf._files.writing import explained

_BLOCK = 4096  # bytes


def append_line(path: Path, line: str) -> None:
    """Append a line, which replaces an incomplete last line, and flush it to disk. Other processes wait.

    Raises:
        WriteError: the disk is full or read-only, or permission is denied.
    """
    append_lines(path, [line])


def append_lines(path: Path, lines: Sequence[str]) -> None:
    """Append lines as `append_line` does, with one flush; without lines, no file is made."""
    if not lines:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with explained(path), path.open("a+b", buffering=0) as file:  # every write goes to the end
        wait_for_lock(file)
        cut_incomplete_line(file)
        size = file.tell()
        try:
            _write_all(file, "".join(f"{line}\n" for line in lines).encode())
        except OSError:
            file.truncate(size)
            raise


def _write_all(file: IO[bytes], content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]
    flush(file)


def complete_lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file without an incomplete last one; none if the file is missing."""
    if path.exists():
        with path.open("rb") as file:
            yield from (line[:-1] for line in file if line.endswith(b"\n"))


def cut_incomplete_line(file: IO[bytes]) -> int:
    """Cut off what follows the last line break of an open file, and return the number of bytes removed."""
    size = file.seek(0, os.SEEK_END)
    kept = _end_of_last_line(file, size)
    if kept < size:
        file.truncate(kept)
        flush(file)
    return size - kept


def flush(file: IO[bytes]) -> None:
    """Flush an open file to disk."""
    file.flush()
    os.fsync(file.fileno())


def _end_of_last_line(file: IO[bytes], size: int) -> int:
    """Return the position after the last line break, 0 if there is none."""
    end = size
    while end > 0:
        start = max(0, end - _BLOCK)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0
