"""Without TensorFlow, the package imports, and what needs it says in one line what to install."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent
NEEDS = "needs TensorFlow: pip install tensorflow"


def test_what_needs_tensorflow_says_so(backend, process) -> None:
    told = json.loads(process(backend, HERE / "without_tensorflow.py").splitlines()[-1])
    assert told.pop("imported") == "False"
    works = {name for name, message in told.items() if message == "works"}
    assert {"weights file", "sn.backbone", "sn.classifier", "sn.detector", "sn.register"} <= works
    assert "KERAS_BACKEND=tensorflow" in told.pop("export")
    others = {name: message for name, message in told.items() if name not in works}
    assert {"batches", "sn.data.read", "sn.evaluate", "sn.load", "sn.train"} <= set(others)
    if backend == "jax":  # the environment of PyTorch also lacks other packages
        assert all(message.endswith(NEEDS) for message in others.values()), others
