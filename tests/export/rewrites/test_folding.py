"""Folding BN changes the operations of a graph, not its outputs."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import tensorflow as tf

import spinenet_tf
from spinenet_tf.export.rewrites.folding import fold_batch_norms
from spinenet_tf.export.signatures import raw_function
from spinenet_tf.heads.retinanet import RetinaNet, RetinaNetOptions
from spinenet_tf.inference.naming import flatten


def operations(function) -> Counter:
    return Counter(node.op for node in function.get_concrete_function().graph.as_graph_def().node)


def size(function) -> int:
    return function.get_concrete_function().graph.as_graph_def().ByteSize()


@pytest.fixture(scope="module", params=["standard", "mobile"])
def model(request, tiny_spec, tiny_mobile_spec, randomize):
    """A detector; the mobile one has depthwise convs, squeeze-and-excitation and a separable head."""
    spec = tiny_mobile_spec if request.param == "mobile" else tiny_spec
    backbone = spinenet_tf.backbone(spec, (64, 64, 3), max_level=5, endpoint=8)
    return randomize(RetinaNet(backbone, 2, RetinaNetOptions(head_depth=2, head_width=8)))


def test_outputs_stay_and_only_the_norms_of_shared_convs_remain(model) -> None:
    images = np.random.default_rng(3).standard_normal((2, 64, 64, 3), "float32")
    plain, folded = raw_function(model, None), raw_function(model, None, rewrites=(fold_batch_norms,))
    for expected, actual in zip(*(tf.nest.flatten(f(tf.constant(images))) for f in (plain, folded)), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    assert set(folded(tf.constant(images))) == set(flatten(model(images, training=False)))
    towers, levels = 2, 3
    assert operations(folded)["FusedBatchNormV3"] == towers * model.options.head_depth * levels
    assert operations(plain)["FusedBatchNormV3"] > operations(folded)["FusedBatchNormV3"]
    assert size(folded) < size(plain)


def test_a_shared_conv_has_no_bias_between_it_and_its_norm(model) -> None:
    graph = raw_function(model, 1, rewrites=(fold_batch_norms,)).get_concrete_function().graph
    norms = [op for op in graph.get_operations() if op.type == "FusedBatchNormV3"]
    assert {op.inputs[0].op.type for op in norms} == {"Conv2D"}
