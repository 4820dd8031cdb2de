"""Compare two networks, and record the differences."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from spinenet_tf.checkpoints.garden_model import canonical_variables
from spinenet_tf.checkpoints.names import variables_by_name

STATISTICS = ("moving_mean", "moving_variance")
# Keras 2 rounds 1 - momentum to float32, also where it computes in float64; here that is exact.
MOMENTUM = 1 - 2**-6
# At 128 px P7 is one pixel: a variance over two images would amplify rounding a million times.
BATCH = 4


def relative(got, expected) -> float:
    """Return the largest difference as a fraction of the largest expected value."""
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    assert got.shape == expected.shape
    return float(np.abs(got - expected).max() / max(np.abs(expected).max(), 1e-30))


def record(model: str, piece: str, difference: float, bound: float) -> None:
    """Assert that a difference is below its bound, and append it to the file that `PARITY_TABLE` names, if any."""
    if path := os.environ.get("PARITY_TABLE"):
        with Path(path).open("a") as file:
            file.write(json.dumps({"model": model, "piece": piece, "difference": difference, "bound": bound}) + "\n")
    assert difference <= bound, f"{model}, {piece}: {difference:.2g} > {bound:g}"


def in_training(ours, theirs, x: np.ndarray) -> Iterator[tuple[str, float, float]]:
    """Yield (name, difference, bound) for the parts of a training step of two backbones with the same weights."""
    x = tf.constant(x, tf.float64)
    weigh = np.random.default_rng(1)
    with tf.GradientTape(persistent=True) as tape:
        got, expected = ours(x, training=True), theirs(x, training=True)
        factors = {level: weigh.normal(size=value.shape) for level, value in expected.items()}
        our_loss = tf.add_n([tf.reduce_mean(got[f"P{level}"] * factors[level]) for level in factors])
        their_loss = tf.add_n([tf.reduce_mean(expected[level] * factors[level]) for level in factors])
    yield "features in training", max(relative(got[f"P{k}"], expected[k]) for k in expected), 1e-8
    named, counterparts = variables_by_name(ours), canonical_variables(theirs.variables)
    statistics = [name for name in named if name.endswith(STATISTICS)]
    yield "moving statistics", max(relative(named[name], counterparts[name]) for name in statistics), 1e-8
    trained = [name for name in named if not name.endswith(STATISTICS)]
    our_gradients = tape.gradient(our_loss, [named[name].value for name in trained])
    their_gradients = tape.gradient(their_loss, [counterparts[name] for name in trained])
    scale = max(float(tf.reduce_max(tf.abs(g))) for g in their_gradients)
    pairs = zip(our_gradients, their_gradients, strict=True)
    yield "gradients", max(float(tf.reduce_max(tf.abs(a - b))) for a, b in pairs) / scale, 1e-6
