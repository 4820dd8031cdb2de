"""TensorFlow variables with the same name remain separate variables."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from spinenet_tf import backbone
from spinenet_tf._fast.variables import named_alike

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="names TensorFlow's variables")


@named_alike()
def _two_layers() -> list[keras.layers.Layer]:
    layers = [keras.layers.Dense(3, name=name) for name in ("first", "second")]
    for layer in layers:
        layer.build((None, 2))
    return layers


def test_variables_of_one_name_are_apart_and_keep_their_paths() -> None:
    first, second = _two_layers()
    assert first.kernel.value.name == second.kernel.value.name == "variable:0"
    assert (first.kernel.path, second.kernel.path) == ("first/kernel", "second/kernel")
    before = np.array(second.kernel.value)
    first.kernel.assign(first.kernel.value + 1.0)
    np.testing.assert_array_equal(second.kernel.value, before)


def test_variables_of_a_graph_keep_their_names_for_these_tell_them_apart() -> None:
    import tensorflow as tf

    with tf.Graph().as_default(), named_alike():
        names = [tf.Variable(0.0, name=name).name for name in ("a", "b")]
    assert names == ["a:0", "b:0"]


def test_a_net_under_a_strategy_is_built_of_mirrored_variables() -> None:
    import tensorflow as tf

    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        net = backbone("spinenet_mobile_49xs", (64, 64, 3))
    assert len({id(weight.value) for weight in net.weights}) == len({weight.path for weight in net.weights})
    assert all(isinstance(weight.value, tf.distribute.DistributedValues) for weight in net.weights)
