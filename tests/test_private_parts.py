"""Each private part of Keras, TensorFlow and LiteRT is used by one module and exists in the installed version."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import keras
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

ROOT = Path(__file__).parents[1]
PLACES = ("spinenet_tf", "export", "configs")
PRIVATE = ("tensorflow.python", "tensorflow.lite", "keras.src")
DOCUMENTED = {"_replace", "_asdict", "_exit"}  # public methods of named tuples and of `os`
BASES = (keras.Model, keras.layers.Layer, keras.optimizers.Adam, keras.optimizers.SGD, keras.callbacks.Callback)


class Part(NamedTuple):
    """A private part: the module that uses it, a version that has it, and how to find it in another version."""

    module: str
    name: str
    project: str
    version: str
    look: Callable[[], Any] | None = None  # returns the object that has it; None: import it by name

    def found(self) -> bool:
        """Return whether the installed version has it."""
        if self.look:
            return hasattr(self.look(), self.name)
        module, name = self.name.rsplit(".", 1)
        return hasattr(import_module(module), name)


@cache
def a_model() -> keras.Model:
    inputs = keras.Input((1,))
    return keras.Model(inputs, keras.layers.Dense(1)(inputs))


def a_converter() -> Any:
    return tf.lite.TFLiteConverter([])


TENSORFLOW, KERAS, LITERT = ("tensorflow", "2.21.0"), ("keras", "3.15.1"), ("ai-edge-litert", "2.3.0")
PYTHON, LITE = "tensorflow.python", "tensorflow.lite.python"
QUANTIZER, OPTIMIZERS = "export/litert/quantizer.py", "spinenet_tf/training/optimizers.py"
CONSTANTS = f"{PYTHON}.framework.convert_to_constants.convert_variables_to_constants_v2"
PARTS = [
    Part("spinenet_tf/_fast/compilation.py", f"{PYTHON}.ops.control_flow_util.GraphOrParentsInXlaContext", *TENSORFLOW),
    Part("export/rewrites/freezing.py", CONSTANTS, *TENSORFLOW),
    Part(QUANTIZER, "_experimental_calibrate_only", *TENSORFLOW, a_converter),
    Part(QUANTIZER, f"{LITE}.convert.mlir_quantize", *TENSORFLOW),
    Part(QUANTIZER, f"{LITE}.optimize.calibrator.Calibrator", *TENSORFLOW),
    Part("spinenet_tf/nets/calls.py", "_nodes_by_depth", *KERAS, a_model),
    Part("spinenet_tf/nets/calls.py", "_keras_history", *KERAS, lambda: a_model().output),
    Part(OPTIMIZERS, "_clip_gradients", *KERAS, lambda: keras.optimizers.Optimizer),
    Part(OPTIMIZERS, "_get_variable_index", *KERAS, lambda: keras.optimizers.Optimizer),
    Part(OPTIMIZERS, "_momentums", *KERAS, lambda: built(keras.optimizers.Adam())),
    Part(OPTIMIZERS, "_velocities", *KERAS, lambda: built(keras.optimizers.Adam())),
    Part("spinenet_tf/inference/interpreter.py", "_get_ops_details", *LITERT, lambda: Interpreter),
]


def built(optimizer: keras.Optimizer) -> keras.Optimizer:
    optimizer.build(a_model().trainable_variables)
    return optimizer


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_the_installed_version_has_the_part(part: Part) -> None:
    installed = f"{part.project} {version(part.project)}"
    assert part.found(), f"{part.module} uses {part.name}, which {part.version} had and {installed} lacks"


def sources() -> Iterator[tuple[str, ast.Module]]:
    for path in (path for place in PLACES for path in (ROOT / place).rglob("*.py")):
        yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text())


def test_no_other_module_uses_a_private_part() -> None:
    """An attribute `_name` is another project's if no module of ours defines it, or a class of Keras does."""
    trees = dict(sources())
    ours = {name for tree in trees.values() for node in ast.walk(tree) for name in defined(node)}
    theirs = {name for base in BASES for name in dir(base) if is_private(name)}
    found = {(module, name) for module, tree in trees.items() for name in used(tree, ours - theirs | DOCUMENTED)}
    assert found == {(part.module, part.name) for part in PARTS}


def defined(node: ast.AST) -> Iterator[str]:
    """Yield the names that a node defines: a function, a variable, or an attribute of `self`."""
    if isinstance(node, ast.FunctionDef):
        yield node.name
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self":
        yield node.attr


def used(tree: ast.Module, known: set[str]) -> Iterator[str]:
    """Yield the names that a module imports from private modules, and its private attributes that are not `known`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PRIVATE):
            yield from (f"{node.module}.{name.name}" for name in node.names)
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.startswith(PRIVATE))
        elif isinstance(node, ast.Attribute) and is_private(node.attr) and node.attr not in known:
            yield node.attr


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")
