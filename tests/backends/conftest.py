"""Run models on other backends, in processes that do not have TensorFlow."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import keras
import numpy as np
import pytest
from backend_process import BACKENDS, HERE, process


@pytest.fixture(scope="session", params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """Return the name of a backend other than TensorFlow."""
    if keras.backend.backend() != "tensorflow":
        pytest.skip("compares TensorFlow with others")
    return request.param


@pytest.fixture(scope="session")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Callable:
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
