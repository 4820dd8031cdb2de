"""The lock of a study's journal, which also removes what a killed process left of its last line."""

from __future__ import annotations

import os
from pathlib import Path

from optuna.storages.journal import JournalFileSymlinkLock

_BLOCK = 4096  # bytes


class MendingLock(JournalFileSymlinkLock):
    """Optuna's lock of a journal file. Whoever takes it to append first cuts off an incomplete last line.

    A process that is killed while it writes, or a full disk, leaves such a line. Optuna would append to it, and then
    could not read the journal any more.
    """

    def __init__(self, path: Path):
        super().__init__(str(path))
        self._journal = path

    def acquire(self) -> bool:
        """Take the lock, as soon as no other process has it, and mend the file."""
        super().acquire()
        try:
            cut_incomplete_line(self._journal)
        except BaseException:
            self.release()
            raise
        return True


def cut_incomplete_line(path: Path) -> int:
    """Cut off what follows the last line break of a file, and return the number of bytes removed."""
    with path.open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        kept = _end_of_last_line(file, size)
        if kept < size:
            file.truncate(kept)
            os.fsync(file.fileno())
    return size - kept


def _end_of_last_line(file, size: int) -> int:
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
