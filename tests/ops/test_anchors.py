from __future__ import annotations

import dataclasses
import json

import keras
import numpy as np
import pytest
from keras import ops

from spinenet_tf.ops.anchors import AnchorSpec, anchors, concatenate

SPECS = [AnchorSpec(), AnchorSpec(min_level=4, max_level=6, num_scales=2, aspect_ratios=(1.0, 3.0), size=4.0)]


def looped(height: int, width: int, level: int, spec: AnchorSpec) -> np.ndarray:
    stride, boxes = 2**level, []
    for i in range(-(-height // stride)):
        for j in range(-(-width // stride)):
            for scale in range(spec.num_scales):
                for ratio in spec.aspect_ratios:
                    base = spec.size * stride * 2 ** (scale / spec.num_scales)
                    y, x, h, w = (i + 0.5) * stride, (j + 0.5) * stride, base / ratio**0.5, base * ratio**0.5
                    boxes.append([y - h / 2, x - w / 2, y + h / 2, x + w / 2])
    return np.array(boxes)


@pytest.mark.parametrize("size", [(64, 64), (64, 128), (100, 75), (33, 129)])
@pytest.mark.parametrize("spec", SPECS)
def test_anchors_are_those_of_a_loop(spec: AnchorSpec, size: tuple[int, int]) -> None:
    levels = anchors(*size, spec)
    assert list(levels) == [f"P{level}" for level in range(spec.min_level, spec.max_level + 1)]
    for level in range(spec.min_level, spec.max_level + 1):
        np.testing.assert_allclose(levels[f"P{level}"], looped(*size, level, spec), rtol=1e-6, atol=1e-4)
        assert ops.dtype(levels[f"P{level}"]) == "float32"


def test_the_paper_has_76725_anchors_at_640_px() -> None:
    assert concatenate(anchors(640, 640, AnchorSpec())).shape == (76725, 4)


def test_concatenate_orders_levels_by_name() -> None:
    levels = {f"P{level}": np.full((2, 1, 4), level, "float32") for level in (10, 7, 3, 5)}
    np.testing.assert_array_equal(concatenate(levels)[0, :, 0], [3, 5, 7, 10])


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow has dynamic shapes")
def test_anchors_of_a_dynamic_size_are_those_of_the_static_one() -> None:
    import tensorflow as tf

    size = tf.TensorSpec([], "int32")
    traced = tf.function(lambda h, w: anchors(h, w, AnchorSpec())).get_concrete_function(size, size)
    for height, width in [(64, 96), (100, 75)]:
        dynamic = traced(tf.constant(height), tf.constant(width))
        for name, static in anchors(height, width, AnchorSpec()).items():
            np.testing.assert_array_equal(dynamic[name], static)


def test_a_spec_survives_json() -> None:
    spec = AnchorSpec(aspect_ratios=(1, 2), size=4)
    assert AnchorSpec(**json.loads(json.dumps(dataclasses.asdict(spec)))) == spec
    assert spec.per_location == 6


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"min_level": 5, "max_level": 4}, r"Received: min_level=5, max_level=4"),
        ({"min_level": -1}, r"Received: min_level=-1"),
        ({"num_scales": 0}, r"Received: num_scales=0"),
        ({"aspect_ratios": ()}, r"Received: aspect_ratios=\(\)"),
        ({"aspect_ratios": (1.0, -2.0)}, r"Received: aspect_ratios=\(1.0, -2.0\)"),
        ({"size": 0}, r"Received: size=0.0"),
        ({"size": float("nan")}, r"Received: size=nan"),
    ],
)
def test_a_spec_that_describes_no_anchors_is_refused(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AnchorSpec(**fields)
