"""Run models on other backends, in processes that do not have TensorFlow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import keras
import numpy as np
import pytest

HERE = Path(__file__).parent
TORCH = HERE.parents[1] / ".venv-torch" / "bin" / "python"
BACKENDS = ["jax", pytest.param("torch", marks=pytest.mark.torch)]


@pytest.fixture(scope="session", params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """Return the name of a backend other than TensorFlow."""
    if keras.backend.backend() != "tensorflow":
        pytest.skip("compares TensorFlow with others")
    return request.param


@pytest.fixture(scope="session")
def process(jax_process) -> Callable[..., str]:
    """Return `process(backend, *arguments)`, which runs Python on a backend and returns its standard output.

    PyTorch has an environment without TensorFlow.
    """

    def run(backend: str, *arguments: object) -> str:
        if backend == "torch" and not TORCH.exists() and not os.environ.get("CI"):
            pytest.skip("There is no .venv-torch: make test-torch")
        if backend == "jax":
            pytest.importorskip("jax")
        python, variables = (sys.executable, jax_process) if backend == "jax" else (TORCH, {"KERAS_BACKEND": backend})
        command = [str(python), "-W", "error::UserWarning", *map(str, arguments)]
        done = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    return run


@pytest.fixture(scope="session")
def elsewhere(process, tmp_path_factory: pytest.TempPathFactory) -> Callable:
    """Return `elsewhere(backend, rows)`, which computes all rows in one process of `child.py`.

    `rows` are {name: (function of the child, model, arrays)}; the result is a folder with a subfolder for each name.
    """

    def run(backend: str, rows: Mapping[str, tuple[str, keras.Model, Mapping[str, np.ndarray]]]) -> Path:
        folder = tmp_path_factory.mktemp(backend)
        for name, (_, model, arrays) in rows.items():
            (folder / name).mkdir()
            model.save(folder / name / "net.keras")
            model.save_weights(folder / name / "net.weights.h5")
            np.savez(folder / name / "data.npz", **arrays)
        (folder / "rows.json").write_text(json.dumps({name: row[0] for name, row in rows.items()}))
        process(backend, HERE / "child.py", folder)
        return folder

    return run
