"""The detection functions, compiled, on the other Keras backend: this file runs itself there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from spinenet_tf.detection.anchors import AnchorSpec, anchors, concatenate
from spinenet_tf.detection.assignment import assign
from spinenet_tf.detection.decoding import detections
from spinenet_tf.detection.losses import retinanet_loss

HEIGHT, WIDTH = 96, 75


def inputs() -> list[np.ndarray]:
    """Return boxes and classes of two images, one of them half padding, and what a net says about them."""
    rng = np.random.default_rng(0)
    corner, sides = rng.uniform(0, 40, (2, 6, 2)), rng.uniform(12, 50, (2, 6, 2))
    boxes, classes = np.concatenate([corner, corner + sides], axis=-1), rng.integers(0, 3, (2, 6))
    boxes[1, 3:], classes[1, 3:] = -1, -1
    count = concatenate(anchors(HEIGHT, WIDTH, AnchorSpec())).shape[0]
    logits, deltas = rng.normal(-3, 1.5, (2, count, 3)), rng.normal(0, 0.2, (2, count, 4))
    types = ["float32", "int32", "float32", "float32"]
    return [x.astype(t) for x, t in zip([boxes, classes, logits, deltas], types, strict=True)]


def everything(boxes: Any, classes: Any, logits: Any, deltas: Any) -> dict[str, Any]:
    levels = concatenate(anchors(HEIGHT, WIDTH, AnchorSpec()))
    assignment = assign(levels, boxes, classes)
    return {
        "anchors": levels,
        **assignment._asdict(),
        **retinanet_loss(logits, deltas, levels, assignment),
        **detections(logits, deltas, levels, HEIGHT, WIDTH),
    }


def compiled() -> dict[str, np.ndarray]:
    if keras.backend.backend() == "jax":
        import jax

        results = jax.jit(everything)(*inputs())
    else:
        import tensorflow as tf

        results = tf.function(everything)(*map(tf.constant, inputs()))
    return {name: keras.ops.convert_to_numpy(value) for name, value in results.items()}


@pytest.mark.slow
def test_both_backends_agree(tmp_path: Path) -> None:
    other = {"tensorflow": "jax", "jax": "tensorflow"}[keras.backend.backend()]
    environment = {**os.environ, "KERAS_BACKEND": other, "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, __file__, tmp_path / "results.npz"], env=environment, check=True)
    ours = compiled()
    assert ours["positive"].any()
    assert ours["num_detections"].min() > 5
    with np.load(tmp_path / "results.npz") as theirs:
        assert set(theirs) == set(ours)
        for name, value in ours.items():
            np.testing.assert_allclose(theirs[name], value, rtol=1e-5, atol=1e-5, err_msg=name)


if __name__ == "__main__":
    np.savez(sys.argv[1], **compiled())
