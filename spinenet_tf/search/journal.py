"""The lock of a study's journal, which also removes what a killed process left of its last line."""

from __future__ import annotations

from pathlib import Path

from optuna.storages.journal import JournalFileSymlinkLock

from spinenet_tf._files.appending import cut_incomplete_line


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
            with self._journal.open("rb+") as file:
                cut_incomplete_line(file)
        except BaseException:
            self.release()
            raise
        return True
