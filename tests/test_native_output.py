"""What native code writes is dropped, unless a user asks for it; Python's streams come back."""

from __future__ import annotations

import os

import pytest

from spinenet_tf import native_output


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
