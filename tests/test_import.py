"""`import spinenet_tf` imports Keras and NumPy, nothing else, and registers the classes that Keras loads from files."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

CODE = """
import importlib, json, pkgutil, sys
import keras, numpy

def registered():
    return sorted(name for name in keras.saving.get_custom_objects() if name.startswith("spinenet_tf>"))

before = set(sys.modules)
import spinenet_tf
told = {"added": sorted(set(sys.modules) - before), "registered": registered()}
for module in pkgutil.walk_packages(spinenet_tf.__path__, "spinenet_tf."):
    if not module.name.startswith("spinenet_tf.cli"):
        importlib.import_module(module.name)
print(json.dumps(told | {"registered by all modules": registered()}))
"""


@pytest.fixture(scope="module")
def told() -> dict[str, list[str]]:
    """Return what another process tells of its imports."""
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_the_package_imports_keras_and_numpy_and_no_other_dependency(told) -> None:
    """What Keras itself imports is its own affair."""
    added = {name.partition(".")[0] for name in told["added"]}
    assert "spinenet_tf" in added
    assert added - {"spinenet_tf", "keras", "numpy"} <= sys.stdlib_module_names


def test_the_package_registers_all_classes_that_keras_loads_from_files(told) -> None:
    """No other module of ours registers one: a `.keras` file loads after `import spinenet_tf`."""
    assert {"spinenet_tf>RetinaNet", "spinenet_tf>SGD", "spinenet_tf>Warmup"} <= set(told["registered"])
    assert told["registered by all modules"] == told["registered"]
