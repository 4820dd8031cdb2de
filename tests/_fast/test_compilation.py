"""`is_compiled_by_xla` returns what Keras does with the trace."""

from __future__ import annotations

from contextlib import nullcontext

import keras
import numpy as np
import pytest

from spinenet_tf._fast.compilation import is_compiled_by_xla

on_tensorflow = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="JAX always compiles")


def told_in_fit(**compiled) -> list[bool]:
    """Return the results of `is_compiled_by_xla` while `fit` traces the loss of a model."""
    told = []

    class Asking(keras.Model):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            told.append(is_compiled_by_xla())
            return keras.ops.mean(y_pred)

    inputs = keras.Input((2,))
    model = Asking(inputs, keras.layers.Dense(1)(inputs))
    model.compile("sgd", **compiled)
    model.fit(np.ones((2, 2), "float32"), np.ones((2, 1), "float32"), verbose=0)
    return told


@on_tensorflow
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize(
    ("compiled", "expected"),
    [({"jit_compile": True}, True), ({"jit_compile": False}, False), ({"run_eagerly": True}, False), ({}, False)],
    ids=str,
)
def test_a_loss_is_told_whether_xla_compiles_it(compiled, expected, mirrored):
    import tensorflow as tf

    with tf.distribute.MirroredStrategy(["CPU:0"]).scope() if mirrored else nullcontext():
        told = told_in_fit(**compiled)
    assert set(told) == {expected}


@on_tensorflow
def test_a_function_inside_of_one_that_is_compiled_is_compiled_too():
    import tensorflow as tf

    told = []
    inner = tf.function(lambda x: told.append(is_compiled_by_xla()) or x)
    tf.function(lambda x: inner(x), jit_compile=True)(1.0)
    tf.function(lambda x: inner(x))(np.float64(1.0))
    assert told == [True, False]
    assert not is_compiled_by_xla()


@pytest.mark.parametrize(("backend", "compiles"), [("jax", True), ("tensorflow", False)])
@pytest.mark.parametrize("devices", [["gpu:0"], []])
def test_what_compiles_does_not_depend_on_the_devices(backend, compiles, devices, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)
    monkeypatch.setattr(keras.distribution, "list_devices", lambda kind: devices)
    assert is_compiled_by_xla() is compiles
