"""LiteRT's resize kernels pick the nearest pixels exactly where `resize_is_exact` says so."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from spinenet_tf.export.litert.conversion import converter
from spinenet_tf.nets.nearest import nearest, resize_is_exact
from spinenet_tf.ops.levels import level_size

LEVELS = [(parent_level, level) for parent_level in range(2, 8) for level in range(1, parent_level)]
SIZES = sorted({tuple(level_size(side, level) for level in levels) for side in range(32, 1921) for levels in LEVELS})
INEXACT = [pair for pair in SIZES if not resize_is_exact(*pair)]
SAMPLE = [*INEXACT[::4], *SIZES[::100]]
# All sources, with values that int8 holds at a scale of 1, where neighbors differ.
RAMP = (np.arange(max(SIZES)[0]) % 255 - 127.0).astype("float32")[None, :, None, None]


@pytest.mark.parametrize("quantization", ["none", "int8"])
def test_litert_resizes_as_predicted(quantization):
    @tf.function(input_signature=[tf.TensorSpec(RAMP.shape, tf.float32, name="ramp")])
    def resized(ramp):
        return {
            f"{source} to {target}": tf.image.resize(ramp[:, :source], (target, 1), "nearest")
            for source, target in SAMPLE
        }

    with converter(resized) as conversion:
        if quantization == "int8":
            conversion.optimizations = [tf.lite.Optimize.DEFAULT]
            conversion.representative_dataset = lambda: ([RAMP] for _ in range(2))
        content = conversion.convert()
    found = Interpreter(model_content=content).get_signature_runner()(ramp=RAMP)
    for source, target in SAMPLE:
        expected = RAMP[:, nearest(np.arange(target), source, target)]
        is_exact = np.abs(found[f"{source} to {target}"] - expected).max() < 0.5
        assert is_exact == resize_is_exact(source, target), (source, target)
