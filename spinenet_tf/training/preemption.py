"""SIGTERM, by which a machine is taken away: training saves its state and ends in good order."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Preempted(Exception):
    """Training was stopped by SIGTERM; the message says where it goes on."""


class Preemption:
    """Notes SIGTERM, and says so where training can stop."""

    def __init__(self) -> None:
        self.requested = False
        self._may_interrupt = False

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Take over SIGTERM for a while; only the main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, self._note)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Let SIGTERM interrupt what runs inside at once: nothing of the training's state may change there.

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
        """Raise Preempted if SIGTERM came, to whichever process."""
        from spinenet_tf.training.processes import in_any

        if in_any(self.requested):
            raise Preempted

    def _note(self, number: int, frame: object) -> None:
        self.requested = True
        if self._may_interrupt:
            raise Preempted
