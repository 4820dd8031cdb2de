"""Run Python on another backend."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TORCH = HERE.parents[1] / ".venv-torch" / "bin" / "python"
# JAX compiles an initializer for each shape of weights; optimizing these would take most of the time.
JAX = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
BACKENDS = ["jax", pytest.param("torch", marks=pytest.mark.torch)]


def process(backend: str, *arguments: object) -> str:
    """Run Python on a backend and return its standard output. PyTorch has an environment without TensorFlow."""
    if backend == "torch" and not TORCH.exists() and not os.environ.get("CI"):
        pytest.skip("There is no .venv-torch: make test-torch")
    if backend == "jax":
        pytest.importorskip("jax")
    python, variables = (sys.executable, JAX) if backend == "jax" else (str(TORCH), {"KERAS_BACKEND": backend})
    command = [python, "-W", "error::UserWarning", *map(str, arguments)]
    done = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
