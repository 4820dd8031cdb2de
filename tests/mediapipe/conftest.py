"""Run MediaPipe in a process and an environment of its own: it brings 660 MB, and the package does not need it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
PYTHON = HERE.parents[1] / ".venv-mediapipe" / "bin" / "python"
LIBRARIES = "MediaPipe needs libEGL and libGLESv2 (Debian: apt-get install libegl1 libgles2)"


@pytest.fixture(scope="session")
def run_python() -> Callable:
    """Return `run_python(*arguments)`, which runs the Python of MediaPipe's environment, and returns what it prints."""
    _skip_or_fail()

    def run(*arguments: str | Path, folder: Path = HERE) -> str:
        done = subprocess.run([PYTHON, *arguments], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="session")
def mediapipe(tmp_path_factory, run_python) -> Callable:
    """Return `mediapipe(task, model, **arrays)`, which returns the results of `oracle.py` as a dict of arrays."""
    folder = tmp_path_factory.mktemp("mediapipe")

    def run(task: str, model: Path, **arrays: np.ndarray) -> dict[str, np.ndarray]:
        np.savez(folder / "in.npz", **arrays)
        run_python(HERE / "oracle.py", task, model, folder / "in.npz", folder / "out.npz")
        with np.load(folder / "out.npz") as file:
            return dict(file)

    return run


def _skip_or_fail() -> None:
    """Skip the tests where MediaPipe does not load, except in CI, where they must run."""
    reason = "There is no .venv-mediapipe: make test-mediapipe installs it"
    if PYTHON.exists():
        load = "import ctypes; [ctypes.CDLL(name) for name in ('libEGL.so.1', 'libGLESv2.so.2')]"
        if subprocess.run([PYTHON, "-c", load], capture_output=True, check=False).returncode == 0:
            return
        reason = LIBRARIES
    assert not os.environ.get("CI"), reason
    pytest.skip(reason)
