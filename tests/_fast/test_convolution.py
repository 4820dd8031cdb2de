"""A product in place of a 1x1 conv computes what Keras's own conv does, gradients included."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from spinenet_tf._fast.convolution import Conv2D

on_tensorflow = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="products are for its CPU")

LAYERS = {
    "plain": {"use_bias": False},
    "with bias and activation": {"bias_initializer": "random_normal", "activation": "relu"},
    "strided": {"strides": 2},
    "3x3": {"kernel_size": 3, "padding": "same"},
    "grouped": {"groups": 2},
}


def _pair(**given):
    """Return our layer and Keras's own, of the same weights."""
    layers = [cls(6, **{"kernel_size": 1} | given) for cls in (Conv2D, keras.layers.Conv2D)]
    for layer in layers:
        layer.build((None, None, None, 4))
        layer.set_weights(layers[0].get_weights())
    return layers


def _maps() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(2, 5, 7, 4)).astype("float32")


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("training", [True, False])
def test_outputs_are_those_of_keras(name: str, training: bool) -> None:
    ours, reference = _pair(**LAYERS[name])
    np.testing.assert_allclose(ours(_maps(), training=training), reference(_maps()), atol=1e-5)


@on_tensorflow
@pytest.mark.parametrize("name", LAYERS)
def test_gradients_are_those_of_keras(name: str) -> None:
    import tensorflow as tf

    def gradients(layer, **given):
        images = tf.constant(_maps())
        with tf.GradientTape() as tape:
            tape.watch(images)
            loss = tf.reduce_sum(layer(images, **given) ** 2)
        return tape.gradient(loss, [images, *(weight.value for weight in layer.weights)])

    ours, reference = _pair(**LAYERS[name])
    for got, expected in zip(gradients(ours, training=True), gradients(reference), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-4)


@on_tensorflow
@pytest.mark.parametrize(
    ("name", "training", "expected"),
    [("plain", True, "MatMul"), ("plain", False, "Conv2D"), ("strided", True, "Conv2D")],
)
def test_a_product_takes_the_place_of_a_1x1_conv_in_training_alone(name: str, training: bool, expected: str) -> None:
    import tensorflow as tf

    layer, _ = _pair(**LAYERS[name])
    traced = tf.function(lambda x: layer(x, training=training)).get_concrete_function(
        tf.TensorSpec((None, None, None, 4))
    )
    kinds = {operation.type for operation in traced.graph.get_operations()}
    assert kinds & {"MatMul", "Conv2D"} == {expected}


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "float64"])
def test_products_compute_in_the_type_of_the_policy(precision: str) -> None:
    layer = Conv2D(6, 1, dtype=precision)
    outputs = layer(_maps(), training=True)
    assert keras.backend.standardize_dtype(outputs.dtype) == layer.compute_dtype


def test_a_weights_file_of_plain_convs_is_one_of_these(tmp_path) -> None:
    ours, reference = (keras.Sequential([keras.Input((None, None, 4)), layer]) for layer in _pair())
    reference.layers[0].set_weights([weights + 1 for weights in reference.layers[0].get_weights()])
    reference.save_weights(tmp_path / "plain.weights.h5")
    ours.load_weights(tmp_path / "plain.weights.h5")
    for got, expected in zip(ours.get_weights(), reference.get_weights(), strict=True):
        np.testing.assert_array_equal(got, expected)
