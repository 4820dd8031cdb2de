"""Save the training state on SIGTERM, which precedes the loss of a preempted machine, and on Ctrl-C."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

NAMES = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C"}


class Preempted(Exception):
    """Training was stopped by SIGTERM; the message says at which step and how to continue."""


class Stop(Exception):
    """A request to save the state and stop; `number` is the signal."""

    def __init__(self, number: int):
        super().__init__(number)
        self.number = signal.Signals(number)

    def after(self, place: str) -> BaseException:
        """Return the exception to raise once the state is saved: Preempted or KeyboardInterrupt."""
        kind = KeyboardInterrupt if self.number == signal.SIGINT else Preempted
        return kind(f"Stopped by {NAMES[self.number]} {place}")


class Preemption:
    """Record signals, and raise Stop where training can stop."""

    def __init__(self) -> None:
        self.requested = 0  # the number of the signal
        self._may_interrupt = False
        self._before: dict[int, Any] = {}  # their handlers

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Handle the signals within the context; in other threads than the main thread, do nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        taken = [number for number in NAMES if number != signal.SIGINT or not _is_ignored(number)]
        self._before = {number: signal.signal(number, self._note) for number in taken}
        try:
            yield
        finally:
            for number, handler in self._before.items():
                signal.signal(number, handler)

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Let a signal interrupt the context's code at once; that code must not change the training state.

        With several processes, each one continues to the end of the context, because the others wait for it there.
        """
        self.check()
        from spinenet_tf.training.processes import share  # not above: the command line names Preempted before Keras

        self._may_interrupt = share()[1] == 1
        try:
            yield
        finally:
            self._may_interrupt = False

    def check(self) -> None:
        """Raise Stop if any process received a signal."""
        from spinenet_tf.training.processes import largest

        number = largest(self.requested)
        if number:
            raise Stop(number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = self.requested or number
        if number == signal.SIGINT:  # a second Ctrl-C interrupts at once, as without this handler
            signal.signal(number, self._before[number])
        if self._may_interrupt:
            raise Stop(number)


def _is_ignored(number: int) -> bool:
    """Return whether the process ignores a signal: a shell starts background jobs with SIGINT ignored."""
    return signal.getsignal(number) == signal.SIG_IGN
