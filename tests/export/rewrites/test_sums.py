"""Sums with convs, which TensorFlow must not fuse if threads share a net."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from spinenet_tf.export.rewrites.frozen_graph import FrozenGraph
from spinenet_tf.export.rewrites.subtracting import subtract_convs

IMAGES = np.random.default_rng(0).standard_normal((2, 6, 4, 3), "float32")
RANDOM = np.random.default_rng(1)


def conv(x, channels: int = 8, side: int = 1):
    kernel = RANDOM.standard_normal((side, side, x.shape[-1], channels), "float32")
    return tf.nn.bias_add(tf.nn.conv2d(x, kernel, 1, "SAME"), RANDOM.standard_normal(channels, "float32"))


def rewritten(function: Callable, rewrite: Callable) -> tuple[Counter, list]:
    """Return the operations of a function of images after a rewrite, and its outputs after and before."""
    before = tf.function(function).get_concrete_function(tf.TensorSpec(IMAGES.shape, name="images"))
    outputs = [output.name for output in before.outputs]
    graph = FrozenGraph(before.graph.as_graph_def())
    rewrite(graph)
    part = graph.needed(outputs)

    @tf.function
    def after(images):
        return tf.graph_util.import_graph_def(part, {"images:0": images}, outputs, name="")

    images = tf.constant(IMAGES)
    return Counter(node.op for node in part.node), [after(images), tf.nest.flatten(before(images))]


def assert_same(outputs: list) -> None:
    for after, before in zip(*outputs, strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-5)


def kept(x):
    first = conv(x, 3)
    return x + first, first


@pytest.mark.parametrize(
    "function", [lambda x: conv(x, 3) + x, lambda x: x + conv(x, 3, side=3), lambda x: conv(x) + conv(tf.abs(x))]
)
def test_a_conv_is_subtracted_where_its_sum_would_be_fused(function) -> None:
    operations, (after, before) = rewritten(function, subtract_convs)
    assert (operations["Sub"], operations["AddV2"]) == (1, 0)
    np.testing.assert_array_equal(after[0], before[0])


@pytest.mark.parametrize(
    "function",
    [lambda x: conv(x) + 3.0, lambda x: tf.nn.relu(conv(x, 3)) + x, kept, lambda x: tf.abs(x) + x],
    ids=["a constant", "an activation between", "read twice", "no conv"],
)
def test_a_sum_that_would_not_be_fused_stays(function) -> None:
    operations, outputs = rewritten(function, subtract_convs)
    assert operations["AddV2"] >= 1
    assert_same(outputs)
