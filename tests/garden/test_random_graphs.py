"""Random valid graphs give the same network as in Model Garden, not only the published ones."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from parity import BATCH, MOMENTUM, in_training, record, relative

import spinenet_tf
from spinenet_tf import ArchitectureSpec, BlockSpec
from spinenet_tf.checkpoints import garden_model

SIDE = 128  # px
MAX_INNER_BLOCKS = 4


@st.composite
def backbones(draw) -> dict:
    """Draw a graph with outputs P3 to P7, and its scaling.

    The first block reads both stem nodes: Model Garden merges an unread stem node into an output, but here each node of
    the stem counts as read by the next.
    """
    levels = [draw(st.integers(2, 6)) for _ in range(draw(st.integers(1, MAX_INNER_BLOCKS)))]
    levels += draw(st.permutations([3, 4, 5, 6, 7]))
    inner = len(levels) - 5
    blocks = []
    for index, level in enumerate(levels):
        parents = draw(st.lists(st.integers(0, index + 1), min_size=2, max_size=2, unique=True)) if index else [0, 1]
        kind = draw(st.sampled_from(["bottleneck", "residual"]))
        blocks.append(BlockSpec(level, kind, tuple(parents), is_output=index >= inner))
    return {
        "name": ArchitectureSpec("random", (2, 2), tuple(blocks)),
        "repeats": draw(st.integers(1, 3)),
        "width": draw(st.sampled_from([0.1, 0.15, 0.25, 0.33])),
        "alpha": draw(st.sampled_from([0.25, 0.5, 1.0])),
        "endpoint": draw(st.sampled_from([8, 24])),
        "activation": draw(st.sampled_from(["relu", "swish"])),
    }


@pytest.mark.slow
@settings(
    max_examples=int(os.environ.get("SPINENET_TF_GRAPHS", "4")),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(arguments=backbones())
@pytest.mark.usefixtures("float64")
def test_same_network(arguments, same_weights):
    ours = spinenet_tf.backbone(input_shape=(SIDE, SIDE, 3), **arguments, norm_momentum=MOMENTUM)
    theirs = garden_model.build(ours, (SIDE, SIDE))
    same_weights(ours, theirs)
    x = np.random.default_rng(7).normal(size=(BATCH, SIDE, SIDE, 3))
    got, expected = ours(x, training=False), theirs(x, training=False)
    worst = max(relative(got[f"P{level}"], expected[level]) for level in expected)
    record("random graphs", "features, float64", worst, 1e-8)
    for piece, difference, bound in in_training(ours, theirs, x):
        record("random graphs", f"{piece}, float64", difference, bound)
