"""Test that a script that exits during its batches ends, by any kind of exit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Children of a process that has imported everything and started nothing: to import it takes most of the time.
SCRIPT = """
import os, signal, sys, time
import tensorflow as tf
from spinenet_tf.data.formats.digits import digits
from spinenet_tf.data.input.pipeline import endless_batches
from spinenet_tf.data.input.reader import Reader, read_example

examples = digits(sys.argv[2], scenes=16).examples
for number in range(int(sys.argv[1])):
    how = ["last line", "exception", "last line", "Ctrl-C"][number % 4]
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
        reader = Reader(examples, lambda example: read_example(example, 10**6), cache=False)
        small = lambda _, index: tf.image.resize(reader(index)[0], (32, 32))
        batches = iter(endless_batches(small, len(examples), 4, 0))
        for _ in range(3):
            next(batches)
        if how == "exception":
            raise KeyError("on purpose")
        if how == "Ctrl-C":
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(60)
        sys.exit()
    until, done = time.monotonic() + 120, 0
    while not done:
        done, status = os.waitpid(child, os.WNOHANG)
        if time.monotonic() > until:
            os.kill(child, signal.SIGKILL)
            sys.exit(f"exit {number} hangs after {how}")
        time.sleep(0.02)
    code = os.waitstatus_to_exitcode(status)
    expected = {"last line": 0, "exception": 1, "Ctrl-C": -signal.SIGINT}[how]
    if code != expected:
        sys.exit(f"exit {number} ends with {code} after {how}")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.parametrize(
    "exits", [pytest.param(5, id="5-exits"), pytest.param(40, id="40-exits", marks=pytest.mark.soak)]
)
def test_a_script_that_leaves_in_the_middle_of_its_batches_ends(tmp_path: Path, exits: int, promise) -> None:
    command = [sys.executable, "-c", SCRIPT, str(exits), str(tmp_path / "digits")]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-1000:]
    promise("Programs: a script that exits in the middle of its batches does not hang", cases=exits)
