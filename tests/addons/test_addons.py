"""The replacements of tensorflow-addons in this package compute the same numbers."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from spinenet_tf.nets.blocks import stochastic_depth
from spinenet_tf.ops.losses import focal_loss, giou_loss


def test_focal_loss(addons):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (40, 6)).astype("float32")
    classes = rng.integers(-1, 6, 40)
    targets = np.eye(7, dtype="float32")[classes][:, :6]
    theirs = addons("focal", logits=logits, targets=targets)
    ours = tf.Variable(logits[None])
    with tf.GradientTape() as tape:
        loss = focal_loss(ours, classes[None], alpha=0.25, gamma=1.5)
    np.testing.assert_allclose(loss[0], theirs["loss"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(tape.gradient(loss, ours)[0], theirs["gradient"], rtol=1e-4, atol=1e-6)


def test_giou_loss(addons):
    rng = np.random.default_rng(1)
    corners = rng.uniform(0, 100, (2, 200, 2)).astype("float32")
    sides = rng.uniform(1, 60, (2, 200, 2)).astype("float32")
    boxes, targets = np.concatenate([corners, corners + sides], axis=-1)
    theirs = addons("giou", boxes=boxes, targets=targets)
    ours = tf.Variable(boxes[None])
    with tf.GradientTape() as tape:
        loss = giou_loss(ours, targets[None])
    np.testing.assert_allclose(loss[0], theirs["loss"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(tape.gradient(loss, ours)[0], theirs["gradient"], rtol=1e-3, atol=1e-6)


def test_stochastic_depth(addons):
    """tensorflow-addons draws once per batch and scales in inference; ours draws per sample and scales in training.

    The networks are the same in expectation: its inference is ours times the survival probability.
    """
    rng = np.random.default_rng(2)
    shortcut, branch = rng.normal(size=(2, 512, 1, 1, 3)).astype("float32")
    theirs = addons("stochastic_depth", shortcut=shortcut, branch=branch)
    inputs = keras.Input((1, 1, 3))
    ours = keras.Model(inputs, stochastic_depth(inputs, 0.2, name="drop"))
    kept = np.asarray(ours(branch, training=True))
    np.testing.assert_allclose(theirs["inference"], shortcut + 0.8 * branch, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ours(branch, training=False), branch)
    is_kept = np.any(kept != 0, axis=(1, 2, 3))
    np.testing.assert_allclose(kept[is_kept], branch[is_kept] / 0.8, rtol=1e-5)
    assert abs(is_kept.mean() - 0.8) < 0.06
    gone = np.allclose(theirs["training"], shortcut)
    assert gone or np.allclose(theirs["training"], shortcut + branch, atol=1e-6)


def test_moving_average(addons):
    """Keras's average starts with the first trained value, that of tensorflow-addons with the initial value.

    The difference is exactly a power of the decay, and so fades.
    """
    rng = np.random.default_rng(3)
    start, gradients = rng.normal(size=5).astype("float32"), rng.normal(size=(12, 5)).astype("float32")
    theirs = addons("moving_average", start=start, gradients=gradients)
    variable = keras.Variable(start)
    optimizer = keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.9)
    for gradient in gradients:
        optimizer.apply([gradient], [variable])
    np.testing.assert_allclose(variable, theirs["trained"], rtol=1e-5)
    optimizer.finalize_variable_values([variable])
    first = start - 0.1 * gradients[0]
    expected = theirs["average"] + 0.9 ** len(gradients) * (first - start)
    np.testing.assert_allclose(variable, expected, rtol=1e-4, atol=1e-6)
