"""Lock open files, so that several processes can share a folder. The system ends the lock of a killed process.

Windows has no such locks: there, only one process may use a folder.
"""

from __future__ import annotations

import os
from typing import IO


def wait_for_lock(file: IO) -> None:
    """Lock an open file until it is closed, as soon as no other process, and no other open file, has the lock."""
    if os.name == "posix":
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)


def takes_lock(file: IO) -> bool:
    """Lock an open file until it is closed; return False if another process, or another open file, has the lock."""
    if os.name == "posix":
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
