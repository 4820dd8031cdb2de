"""Test that a second Ctrl-C ends a command immediately."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

NATIVE = """
import hashlib, signal
from spinenet_tf.cli.interruption import second_leaves_at_once

signal.signal(signal.SIGINT, lambda number, frame: print("noted", flush=True))
with second_leaves_at_once():
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)  # minutes, without a return to Python
"""


def test_the_second_one_does_not_wait_for_native_code() -> None:
    child = subprocess.Popen([sys.executable, "-c", NATIVE], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "ready\n"
    time.sleep(1)  # until it is in native code
    child.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.5)
    child.send_signal(signal.SIGINT)
    begun = time.monotonic()
    assert child.wait(60) == 130
    assert time.monotonic() - begun < 30
    assert child.communicate()[0] == "", "no handler of Python has run"


def test_afterwards_signals_are_as_they_were() -> None:
    from spinenet_tf.cli.interruption import second_leaves_at_once

    before = signal.set_wakeup_fd(-1)
    with second_leaves_at_once():
        pass
    assert signal.set_wakeup_fd(before) == -1
