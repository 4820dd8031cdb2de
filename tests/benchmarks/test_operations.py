"""Profile a file by kind of operation."""

from __future__ import annotations

from importlib.metadata import version

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import operations


@pytest.fixture
def file(tmp_path):
    """Return a .tflite file with two convs, a depthwise conv and an addition, on a 16 x 16 feature map."""
    random = np.random.default_rng(0)
    first, middle, last = (
        random.normal(size=shape).astype("float32") for shape in ((3, 3, 3, 8), (3, 3, 8, 1), (1, 1, 8, 8))
    )

    @tf.function(input_signature=[tf.TensorSpec((1, 32, 32, 3), name="images")])
    def net(images):
        x = tf.nn.conv2d(images, first, 2, "SAME")
        return {"out": tf.nn.conv2d(tf.nn.depthwise_conv2d(x, middle, [1] * 4, "SAME"), last, 1, "SAME") + x}

    module = tf.Module()
    module.net = net
    tf.saved_model.save(module, str(tmp_path / "net"), signatures=net)
    path = tmp_path / "net.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "net")).convert())
    return path


def test_multiply_adds_are_counted_for_convs(file) -> None:
    pixels = 16 * 16
    expected = {"other conv": pixels * 9 * 3 * 8, "depthwise conv": pixels * 9 * 8, "1x1 conv": pixels * 8 * 8}
    assert operations.multiply_adds(file) == expected


@pytest.mark.skipif(
    not version("ai-edge-litert").startswith(operations.LITERT), reason="the layout is known for that version only"
)
def test_every_operation_has_a_time(file) -> None:
    times = operations.measure(file, threads=1, rounds=2)
    assert {kind: len(x) for kind, x in times.items()} == {
        "other conv": 1,
        "depthwise conv": 1,
        "1x1 conv": 1,
        "Add": 1,
    }
    assert all(0 < seconds < 1 for x in times.values() for seconds in x)
