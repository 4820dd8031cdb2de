"""Test that output of native code is hidden, except in debug mode, and that Python's streams are restored."""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from spinenet_tf._files import native_output


@pytest.mark.parametrize(("debug", "expected"), [(None, "after"), ("1", "insideafter")])
def test_output_is_hidden_only_inside(debug, expected, monkeypatch, capfd):
    monkeypatch.delenv(native_output.DEBUG, raising=False)
    if debug is not None:
        monkeypatch.setenv(native_output.DEBUG, debug)
    with native_output.hidden():
        os.write(1, b"inside")
    os.write(1, b"after")
    assert capfd.readouterr().out == expected


def test_output_comes_back_after_an_error(capfd, monkeypatch):
    monkeypatch.delenv(native_output.DEBUG, raising=False)
    with pytest.raises(ValueError, match="stop"), native_output.hidden():
        raise ValueError("stop")
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"


def test_blocks_of_threads_may_overlap_in_any_order(capfd, monkeypatch):
    """If each thread restored the streams that it found, one would restore the other's redirection."""
    monkeypatch.delenv(native_output.DEBUG, raising=False)
    with ExitStack() as first, ExitStack() as second:
        first.enter_context(native_output.hidden())
        second.enter_context(native_output.hidden())
        first.close()
        os.write(1, b"inside the second")
    os.write(1, b"after")
    os.write(2, b"after")
    assert tuple(capfd.readouterr()) == ("after", "after")


def test_output_comes_back_after_many_threads(capfd, monkeypatch):
    monkeypatch.delenv(native_output.DEBUG, raising=False)

    def hide(_: int) -> None:
        for _ in range(20):
            with native_output.hidden():
                os.write(2, b"inside")
                time.sleep(1e-4)

    before = len(os.listdir("/dev/fd"))
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(hide, range(8)))
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"
    assert len(os.listdir("/dev/fd")) == before, "no file is left open"


def test_what_was_printed_before_is_not_lost(capfd, monkeypatch):
    """Python buffers what it prints to a pipe or a file."""
    monkeypatch.delenv(native_output.DEBUG, raising=False)
    with open(1, "w", closefd=False) as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        print("before", end="")
        with native_output.hidden():
            stream.flush()
    assert capfd.readouterr().out == "before"


def test_a_service_without_standard_error_can_hide_it(capfd, monkeypatch):
    monkeypatch.delenv(native_output.DEBUG, raising=False)
    kept = os.dup(2)
    os.close(2)
    try:
        with native_output.hidden():
            os.write(1, b"inside")
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.write(2, b"closed, as before")
        os.write(1, b"after")
    finally:
        os.dup2(kept, 2)
        os.close(kept)
    assert capfd.readouterr().out == "after"
