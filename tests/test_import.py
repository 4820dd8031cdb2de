"""`import spinenet_tf` imports Keras and NumPy, nothing else, and registers the classes that Keras loads from files."""

from __future__ import annotations

import json
import subprocess
import sys

BEFORE_AND_AFTER = """
import json, sys
import keras, numpy
before = set(sys.modules)
import spinenet_tf
print(json.dumps(sorted(set(sys.modules) - before)))
"""

REGISTERED = """
import json
import spinenet_tf, keras
print(json.dumps(sorted(name for name in keras.saving.get_custom_objects() if name.startswith("spinenet_tf>"))))
"""

OURS = "import pkgutil, importlib, spinenet_tf\n" + (
    "for module in pkgutil.walk_packages(spinenet_tf.__path__, 'spinenet_tf.'):\n"
    "    if not module.name.startswith(('spinenet_tf.cli', 'spinenet_tf.export')):\n"
    "        importlib.import_module(module.name)\n"
)


def printed(code: str) -> list[str]:
    """Return the list that another process prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_the_package_imports_keras_and_numpy_and_no_other_dependency() -> None:
    """What Keras itself imports is its own affair."""
    added = {name.partition(".")[0] for name in printed(BEFORE_AND_AFTER)}
    assert "spinenet_tf" in added
    assert added - {"spinenet_tf", "keras", "numpy"} <= sys.stdlib_module_names


def test_the_package_registers_all_classes_that_keras_loads_from_files() -> None:
    """No other module of ours registers one: a `.keras` file loads after `import spinenet_tf`."""
    names = printed(REGISTERED)
    assert {"spinenet_tf>RetinaNet", "spinenet_tf>SGD", "spinenet_tf>Warmup"} <= set(names)
    assert printed(OURS + REGISTERED) == names
