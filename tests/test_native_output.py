"""What native code writes is dropped, unless a user asks TensorFlow to talk; Python's streams come back."""

from __future__ import annotations

import os

import pytest

from spinenet_tf import native_output


@pytest.mark.parametrize(("level", "expected"), [(None, "after"), ("3", "after"), ("0", "insideafter")])
def test_output_is_hidden_only_inside(level, expected, monkeypatch, capfd):
    monkeypatch.delenv(native_output.LEVEL, raising=False)
    if level is not None:
        monkeypatch.setenv(native_output.LEVEL, level)
    with native_output.hidden():
        os.write(1, b"inside")
    os.write(1, b"after")
    assert capfd.readouterr().out == expected


def test_output_comes_back_after_an_error(capfd, monkeypatch):
    monkeypatch.delenv(native_output.LEVEL, raising=False)
    with pytest.raises(ValueError, match="stop"), native_output.hidden():
        raise ValueError("stop")
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"
