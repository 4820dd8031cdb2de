"""Run tensorflow-addons in a process of its own: it needs TensorFlow 2.13 to 2.15, and at most Python 3.11."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
PYTHON = HERE.parents[1] / ".venv-addons" / "bin" / "python"


@pytest.fixture(scope="session")
def addons(tmp_path_factory) -> Callable:
    """Return `addons(piece, **arrays)`, which returns the results of `oracle.py` as a dict of arrays."""
    if not PYTHON.exists() and not os.environ.get("CI"):
        pytest.skip("There is no .venv-addons: tensorflow-addons needs Python 3.11 (make test-addons)")
    folder = tmp_path_factory.mktemp("addons")

    def compute(piece: str, **arrays: np.ndarray) -> dict[str, np.ndarray]:
        np.savez(folder / "in.npz", **arrays)
        command = [PYTHON, HERE / "oracle.py", piece, folder / "in.npz", folder / "out.npz"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        with np.load(folder / "out.npz") as file:
            return dict(file)

    return compute
