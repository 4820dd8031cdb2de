"""Ctrl-C on the command line: the first one raises KeyboardInterrupt, the second one ends the process at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

INTERRUPTED = 130  # the exit code that shells give, too


@contextmanager
def second_leaves_at_once() -> Iterator[None]:
    """Exit with 130 at a second SIGINT, also inside of native code: Python's handlers wait until it returns."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reads, writes = os.pipe()
    os.set_blocking(writes, False)
    before = signal.set_wakeup_fd(writes, warn_on_full_buffer=False)
    threading.Thread(target=_wait_for_two, args=(reads,), daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(writes)


def _wait_for_two(reads: int) -> None:
    """Read the numbers of the signals that come, as they come, until the pipe is closed."""
    seen = 0
    while number := os.read(reads, 1):
        seen += number[0] == signal.SIGINT
        if seen == 2:
            os._exit(INTERRUPTED)
    os.close(reads)
