"""Handle Ctrl-C: the first raises KeyboardInterrupt, the second ends the process immediately."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from spinenet_tf.cli.terminal import console

INTERRUPTED = 130  # the exit code that shells use


@contextmanager
def interruptible() -> Iterator[None]:
    """On Ctrl-C, print how to resume training, and exit with 130."""
    try:
        with second_leaves_at_once():
            yield
    except KeyboardInterrupt as stop:
        console.print(str(stop) or "Interrupted. The run's saved files are kept.", soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None


@contextmanager
def second_leaves_at_once() -> Iterator[None]:
    """Exit with 130 at a second SIGINT, even in native code, where Python's own handlers wait for it to return."""
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
    """Read signal numbers from the pipe until it is closed; exit at the second SIGINT."""
    seen = 0
    while number := os.read(reads, 1):
        seen += number[0] == signal.SIGINT
        if seen == 2:
            os._exit(INTERRUPTED)
    os.close(reads)
