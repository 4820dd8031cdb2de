"""`import spinenet_tf` adds no module to those of Keras and NumPy, and registers the classes that Keras loads."""

from __future__ import annotations

import json
import subprocess
import sys

import keras
import pytest
from keras.optimizers.schedules import CosineDecay

import spinenet_tf
from spinenet_tf._fast.regularization import L2
from spinenet_tf.nets.resample import NearestUpsample
from spinenet_tf.training.optimizers import SGD
from spinenet_tf.training.schedule import Warmup

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
    """Return the modules and classes that another process reports after the import."""
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_the_package_adds_only_its_own_modules_to_those_of_keras_and_numpy(told) -> None:
    assert "spinenet_tf" in told["added"]
    assert [name for name in told["added"] if name.partition(".")[0] != "spinenet_tf"] == []


def test_the_package_registers_all_classes_that_keras_loads_from_files(told) -> None:
    """No other module registers a class, so every `.keras` file loads after `import spinenet_tf`."""
    assert {"spinenet_tf>RetinaNet", "spinenet_tf>SGD", "spinenet_tf>Warmup"} <= set(told["registered"])
    assert told["registered by all modules"] == told["registered"]


LOAD = """
import json, sys
sys.argv[:] = [sys.argv[1]]
import keras, spinenet_tf

def error(config):
    try:
        keras.saving.deserialize_keras_object(config)
    except TypeError as error:
        return str(error)

print(json.dumps([error(config) for config in json.load(sys.stdin)]))
"""


def errors(program: str) -> list[str | None]:
    """Return the error for each of our objects that Keras deserializes in a process of this program name, or None."""
    model = spinenet_tf.classifier("spinenet_49", 2, (32, 32, 3), width=0.25, endpoint=8)
    objects = (model, NearestUpsample(5, 3), L2(0.1), SGD(0.1), Warmup(0.0, 1, CosineDecay(0.1, 2)))
    configs = json.dumps([keras.saving.serialize_keras_object(x) for x in objects])
    command = [sys.executable, "-c", LOAD, program]
    done = subprocess.run(command, input=configs, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_keras_deserializes_all_our_objects_after_the_import() -> None:
    assert errors("python") == [None] * 5


def test_keras_deserializes_none_of_our_objects_without_registration() -> None:
    """This is Keras 3.15. If a later version imports them itself, `__init__` need not check the program's name."""
    assert all(error and "Could not locate class" in error for error in errors("spinenet-tf"))
