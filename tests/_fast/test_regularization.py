"""L2 with the fused kernel equals Keras's own L2, including gradients, and survives its config."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from spinenet_tf._fast.regularization import L2

KERNEL = np.random.default_rng(0).normal(size=(3, 3, 4, 5)).astype("float32")


def test_it_is_keras_own_penalty():
    np.testing.assert_allclose(L2(0.3)(KERNEL), keras.regularizers.L2(0.3)(KERNEL), rtol=1e-6)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the tape is TensorFlow's")
def test_its_gradient_is_keras_own():
    import tensorflow as tf

    def gradient(penalty):
        variable = keras.Variable(KERNEL)
        with tf.GradientTape() as tape:
            loss = 7.0 * penalty(variable)
        return tape.gradient(loss, variable.value)

    np.testing.assert_allclose(gradient(L2(0.3)), gradient(keras.regularizers.L2(0.3)), rtol=1e-6)


def test_it_survives_its_config():
    copy = keras.regularizers.deserialize(keras.regularizers.serialize(L2(0.3)))
    assert type(copy) is L2
    assert copy.l2 == pytest.approx(0.3)


def test_it_penalizes_kernels_of_any_type():
    np.testing.assert_allclose(L2(0.3)(KERNEL.astype("float64")), keras.regularizers.L2(0.3)(KERNEL), rtol=1e-6)
