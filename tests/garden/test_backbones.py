"""Every backbone equals Model Garden's: features, moving statistics and gradients."""

from __future__ import annotations

from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf
from parity import BATCH, MOMENTUM, in_training, record, relative

import spinenet_tf
from spinenet_tf.checkpoints.names import variables_by_name

soak = partial(pytest.param, marks=pytest.mark.soak)  # for `make parity` only
# Each id, minimum level, size and activation occurs; their full product would say no more. In CI: the extremes.
FORWARD = [
    ("spinenet_49s", 2, (256, 384), "swish"),
    ("spinenet_49", 2, (128, 128), "relu"),
    ("spinenet_190", 3, (128, 128), "swish"),
    ("spinenet_mobile_49xs", 3, (128, 128), "swish"),
    ("spinenet_mobile_49s", 3, (256, 384), "relu"),
    soak("spinenet_49s", 3, (128, 128), "relu"),
    soak("spinenet_96", 3, (128, 128), "swish"),
    soak("spinenet_143", 3, (128, 128), "relu"),
    soak("spinenet_143l", 2, (128, 128), "relu"),
    soak("spinenet_mobile_49", 3, (128, 128), "swish"),
]
# Deeper members repeat these blocks; random graphs cover repeats, widths and alpha.
TRAINING = [
    ("spinenet_49s", 2, "swish"),
    ("spinenet_mobile_49xs", 3, "swish"),
    soak("spinenet_49s", 3, "relu"),
    soak("spinenet_49", 3, "swish"),
    soak("spinenet_mobile_49", 3, "relu"),
]


@pytest.mark.parametrize(("name", "min_level", "size", "activation"), FORWARD)
def test_features(name, min_level, size, activation, garden_backbone, same_weights, images):
    ours = spinenet_tf.backbone(name, (*size, 3), min_level=min_level, activation=activation)
    theirs = garden_backbone(name, size, min_level, activation)
    same_weights(ours, theirs)
    x = images(*size, batch=1)
    got, expected = ours(x, training=False), theirs(x, training=False)
    assert [f"P{level}" for level in expected] == list(got)
    worst = max(relative(got[f"P{level}"], expected[level]) for level in expected)
    record(name, f"features, {activation}, float32", worst, 1e-4)


@pytest.mark.parametrize(("name", "min_level", "activation"), TRAINING)
@pytest.mark.usefixtures("float64")
def test_training(name, min_level, activation, garden_backbone, same_weights, images):
    options = {"min_level": min_level, "activation": activation}
    ours = spinenet_tf.backbone(name, (128, 128, 3), **options, norm_momentum=MOMENTUM)
    theirs = garden_backbone(name, (128, 128), **options, momentum=MOMENTUM)
    same_weights(ours, theirs)
    for piece, worst, bound in in_training(ours, theirs, images(128, 128, batch=BATCH)):
        record(name, f"{piece}, {activation}, float64", worst, bound)


def test_below_128_px_ours_keeps_its_graph(garden_backbone):
    """Model Garden does not merge unread blocks if the width is unknown, and fails between multiples of 128 px."""
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
        garden_backbone("spinenet_49s", (96, 96))
    known, unknown = (garden_backbone("spinenet_49", (side, side)) for side in (128, None))
    assert len(unknown.weights) != len(known.weights)
    static, dynamic, odd = (spinenet_tf.backbone("spinenet_49", (side, side, 3)) for side in (128, None, 100))
    assert len(static.weights) == len(dynamic.weights) == len(odd.weights) == len(known.weights)


def test_our_depthwise_convs_are_regularized_in_the_resampler(garden_backbone):
    """Model Garden passes `kernel_regularizer` to depthwise convs, which ignore it."""
    ours = spinenet_tf.backbone("spinenet_mobile_49xs", (128, 128, 3), l2=1e-4)
    kinds = [name for name in variables_by_name(ours) if name.startswith("depthwise_conv2d")]
    layers = [
        layer for layer in ours.layers if isinstance(layer, keras.layers.DepthwiseConv2D) and "down" in layer.name
    ]
    assert len(layers) == len(kinds) > 0
    assert all(layer.depthwise_regularizer is not None for layer in layers)
    assert np.isfinite(float(sum(ours.losses)))
