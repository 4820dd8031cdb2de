"""Signals that end a training: SIGTERM, by which a machine is taken away, and Ctrl-C. It saves its state before."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

NAMES = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C"}


class Preempted(Exception):
    """Training was stopped by SIGTERM; the message says where it goes on."""


class Stop(Exception):
    """Training is to stop here and to save its state; `number` is the signal that asked for it."""

    def __init__(self, number: int):
        super().__init__(number)
        self.number = signal.Signals(number)

    def after(self, place: str) -> BaseException:
        """Return what a training is to raise when its state is saved: Preempted, or Python's KeyboardInterrupt."""
        kind = KeyboardInterrupt if self.number == signal.SIGINT else Preempted
        return kind(f"Stopped by {NAMES[self.number]} {place}")


class Preemption:
    """Notes the signals, and says so where training can stop."""

    def __init__(self) -> None:
        self.requested = 0  # the number of the signal
        self._may_interrupt = False
        self._before: dict[int, Any] = {}  # their handlers

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Take over the signals for a while; only the main thread can."""
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
        """Let a signal interrupt what runs inside at once: nothing of the training's state may change there.

        One of many processes goes on to the end of it, for the others wait for it there.
        """
        self.check()
        from spinenet_tf.training.processes import share  # not above: the command line names Preempted before Keras

        self._may_interrupt = share()[1] == 1
        try:
            yield
        finally:
            self._may_interrupt = False

    def check(self) -> None:
        """Raise Stop if a signal came, to whichever process."""
        from spinenet_tf.training.processes import largest

        number = largest(self.requested)
        if number:
            raise Stop(number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = self.requested or number
        if number == signal.SIGINT:  # the second one leaves at once, as it would have before
            signal.signal(number, self._before[number])
        if self._may_interrupt:
            raise Stop(number)


def _is_ignored(number: int) -> bool:
    """Tell whether a signal is meant for others: a shell starts what is in the background so."""
    return signal.getsignal(number) == signal.SIG_IGN
