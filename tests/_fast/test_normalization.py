"""The fused kernel equals Keras's own batch normalization, including statistics and gradients."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from spinenet_tf._fast.normalization import BatchNorm

on_tensorflow = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the kernel is TensorFlow's")


@pytest.fixture
def maps():
    return np.random.default_rng(0).normal(3.0, 2.0, size=(4, 6, 5, 3)).astype("float32")


def _build(cls, dtype="float32", channels=3, **kwargs):
    layer = cls(momentum=0.9, epsilon=1e-3, dtype=dtype, **kwargs)
    layer.build((None, None, None, channels))
    rng = np.random.default_rng(1)
    for weight, low in zip(layer.weights, (0.5, -0.5, -0.5, 0.5), strict=True):
        weight.assign(rng.uniform(low, low + 1.0, channels))
    return layer


def _uses_kernel(layer, inputs, monkeypatch) -> bool:
    calls = []
    kernel = layer._fused
    monkeypatch.setattr(layer, "_fused", lambda *args, **kwargs: calls.append(1) or kernel(*args, **kwargs))
    layer(inputs, training=True)
    return bool(calls)


def _close(ours, keras_own, atol=1e-5):
    np.testing.assert_allclose(ops.cast(ours, "float32"), ops.cast(keras_own, "float32"), rtol=1e-5, atol=atol)


@pytest.mark.parametrize("training", [True, False])
def test_outputs_and_moving_statistics_are_those_of_keras(maps, training):
    ours, reference = _build(BatchNorm), _build(keras.layers.BatchNormalization)
    for _ in range(3):
        _close(ours(maps, training=training), reference(maps, training=training))
    _close(ours.moving_mean, reference.moving_mean)
    _close(ours.moving_variance, reference.moving_variance)


def test_the_moving_variance_is_the_biased_one(maps):
    layer = _build(BatchNorm)
    before = np.array(layer.moving_variance.value)
    layer(maps, training=True)
    _close(layer.moving_variance, 0.9 * before + 0.1 * maps.var(axis=(0, 1, 2)))


@on_tensorflow
@pytest.mark.parametrize("training", [True, False])
def test_gradients_are_those_of_keras(maps, training):
    import tensorflow as tf

    weighting = np.random.default_rng(2).normal(size=maps.shape).astype("float32")

    def gradients(layer):
        x = tf.constant(maps)
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(layer(x, training=training) ** 2 * weighting)
        return tape.gradient(loss, [x, layer.gamma.value, layer.beta.value])

    for ours, reference in zip(
        gradients(_build(BatchNorm)), gradients(_build(keras.layers.BatchNormalization)), strict=True
    ):
        _close(ours, reference, atol=1e-3)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_keeps_float32_statistics(maps, policy):
    ours, reference = _build(BatchNorm, policy), _build(keras.layers.BatchNormalization, policy)
    outputs = ours(maps, training=True)
    assert keras.backend.standardize_dtype(outputs.dtype) == policy.removeprefix("mixed_")
    _close(outputs, reference(maps, training=True), atol=0.03)
    assert ours.moving_mean.dtype == "float32"
    _close(ours.moving_mean, reference.moving_mean, atol=1e-4)
    _close(ours.moving_variance, reference.moving_variance, atol=1e-4)


def test_one_value_per_channel_is_finite():
    ours, reference = _build(BatchNorm), _build(keras.layers.BatchNormalization)
    single = np.ones((1, 1, 1, 3), "float32")
    _close(ours(single, training=True), reference(single, training=True))
    _close(ours.moving_variance, reference.moving_variance)
    assert np.isfinite(np.array(ours.moving_variance.value)).all()


def test_a_frozen_layer_uses_and_keeps_its_moving_statistics(maps):
    layer = _build(BatchNorm)
    layer.trainable = False
    before = [np.array(weight.value) for weight in layer.weights]
    _close(layer(maps, training=True), layer(maps, training=False))
    for weight, value in zip(layer.weights, before, strict=True):
        np.testing.assert_array_equal(weight.value, value)


@on_tensorflow
def test_the_kernel_is_used_where_it_can_be(maps, monkeypatch):
    assert _uses_kernel(_build(BatchNorm), maps, monkeypatch)


@on_tensorflow
def test_what_the_kernel_cannot_do_is_left_to_keras(maps, monkeypatch):
    layer = _build(BatchNorm, dtype="float64")
    assert not _uses_kernel(layer, maps.astype(layer.compute_dtype), monkeypatch)


@on_tensorflow
@pytest.mark.parametrize(("devices", "is_fused"), [(1, True), (2, False)])
def test_statistics_over_devices_cost_the_kernel_only_where_there_are_several(maps, monkeypatch, devices, is_fused):
    monkeypatch.setattr("spinenet_tf._fast.normalization.replica_count", lambda: devices)
    ours, reference = _build(BatchNorm, synchronized=True), _build(keras.layers.BatchNormalization)
    _close(ours(maps, training=True), reference(maps, training=True))
    _close(ours.moving_variance, reference.moving_variance)
    assert ours.synchronized
    assert _uses_kernel(ours, maps, monkeypatch) == is_fused


def test_jax_takes_statistics_over_devices_for_granted(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    assert BatchNorm(synchronized=True).synchronized is False


@on_tensorflow
def test_inputs_that_are_no_maps_are_left_to_keras(maps, monkeypatch):
    assert not _uses_kernel(BatchNorm(), maps[:, 0, 0], monkeypatch)


def test_another_backend_is_left_to_keras(maps, monkeypatch):
    layer = _build(BatchNorm)
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    assert not layer._has_kernel(ops.convert_to_tensor(maps))


def test_the_layer_survives_its_config():
    layer = BatchNorm(momentum=0.7, epsilon=1e-2, synchronized=True, name="norm")
    copy = keras.layers.deserialize(keras.layers.serialize(layer))
    assert type(copy) is BatchNorm
    assert copy.get_config() == layer.get_config()
