"""Compute gradients on TensorFlow or JAX."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np


def gradient(loss: Callable, x: np.ndarray) -> np.ndarray:
    if keras.backend.backend() == "jax":
        import jax

        return np.asarray(jax.grad(loss)(x))
    import tensorflow as tf

    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = loss(x)
    return tf.convert_to_tensor(tape.gradient(value, x)).numpy()
