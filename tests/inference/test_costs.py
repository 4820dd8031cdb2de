"""Multiply-adds and bytes of a .tflite file equal those computed by hand."""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from spinenet_tf.inference.costs import constants_of, moved_bytes, multiply_adds, peak_bytes
from spinenet_tf.inference.coverage import find_coverage
from spinenet_tf.inference.inspection import inspect

KERNELS = [(3, 3, 3, 8), (5, 3, 8, 1), (2, 2, 4, 8), (256, 10)]
STORED = sum(map(prod, KERNELS)) + 8  # and the zero bias of the convs with 8 channels
SHAPES = 4 * (4 + 2)  # bytes: of the transposed conv and of the reshape
# An image of 8 x 8 pixels: 4 x 4 after the first conv, 8 x 8 after the transposed conv.
MULTIPLY_ADDS = {
    "CONV_2D": 4 * 4 * 8 * (3 * 3 * 3),
    "DEPTHWISE_CONV_2D": 4 * 4 * 8 * (5 * 3),
    "TRANSPOSE_CONV": 4 * 4 * 8 * (2 * 2 * 4),
    "FULLY_CONNECTED": 256 * 10,
}
MOVED = {  # values of the input and of the output
    "CONV_2D": 8 * 8 * 3 + 4 * 4 * 8,
    "DEPTHWISE_CONV_2D": 4 * 4 * 8 + 4 * 4 * 8,
    "TRANSPOSE_CONV": 4 * 4 * 8 + 8 * 8 * 4,
    "RESHAPE": 256 + 256,
    "FULLY_CONNECTED": 256 + 10,
}


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    """Return .tflite files with one operation of each type that has multiply-adds, in float32 and float16."""
    random, folder = np.random.default_rng(0), tmp_path_factory.mktemp("by_hand")
    conv, depthwise, transposed, dense = (random.normal(size=shape).astype("float32") for shape in KERNELS)

    @tf.function(input_signature=[tf.TensorSpec((1, 8, 8, 3), name="images")])
    def net(images):
        x = tf.nn.depthwise_conv2d(tf.nn.conv2d(images, conv, 2, "SAME"), depthwise, [1] * 4, "SAME")
        return {"out": tf.reshape(tf.nn.conv2d_transpose(x, transposed, (1, 8, 8, 4), 2), (1, 256)) @ dense}

    module, paths = tf.Module(), {name: folder / f"{name}.tflite" for name in ("float32", "float16")}
    module.net = net
    tf.saved_model.save(module, str(folder / "net"), signatures=net)
    for name, path in paths.items():
        converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "net"))
        if name == "float16":
            converter.optimizations, converter.target_spec.supported_types = [tf.lite.Optimize.DEFAULT], [tf.float16]
        path.write_bytes(converter.convert())
    return paths


def test_multiply_adds_and_moved_bytes_of_each_operation(files) -> None:
    found = inspect(files["float32"])
    assert found.multiply_adds == MULTIPLY_ADDS
    assert found.moved_bytes == {name: 4 * count for name, count in MOVED.items()}
    assert found.arena_bytes == 4 * (256 + 256)


def test_weights_in_float16_are_half_as_large_and_no_activations(files) -> None:
    """The file converts them to float32, which XNNPACK does once."""
    whole, half = (inspect(files[name]) for name in ("float32", "float16"))
    assert half.ops["DEQUANTIZE"] >= len(KERNELS)
    assert (whole.weight_bytes, half.weight_bytes) == (4 * STORED + SHAPES, 2 * STORED + SHAPES)
    assert half.multiply_adds == whole.multiply_adds
    assert half.moved_bytes == whole.moved_bytes
    assert half.arena_bytes == whole.arena_bytes


def details(*shapes: tuple[int, ...]) -> dict[int, dict]:
    return {index: {"shape": np.array(shape), "dtype": "float32"} for index, shape in enumerate(shapes)}


def operation(name: str, inputs: list[int], outputs: list[int], index: int = 0) -> dict:
    return {"op_name": name, "index": index, "inputs": np.array(inputs), "outputs": np.array(outputs)}


def test_a_conv_in_groups_and_a_batch() -> None:
    """Each output reads only the channels of its group; the figures are those of the whole batch."""
    tensors = details((2, 8, 8, 6), (9, 1, 1, 2), (2, 8, 8, 9))
    assert multiply_adds(operation("CONV_2D", [0, 1, -1], [2]), tensors) == 2 * 8 * 8 * 9 * 2
    assert multiply_adds(operation("ADD", [0, 2], [2]), tensors) == 0


def test_what_is_alive_at_once() -> None:
    """B (8 bytes) and C (4) are computed from A (4), the output D (16) from B and C, when A is not alive."""
    tensors = details((1,), (2,), (1,), (4,))
    operations = [operation("RELU", [0], [1]), operation("RELU", [0], [2]), operation("ADD", [1, 2], [3])]
    assert peak_bytes(operations, tensors, inputs=[0], outputs=[3]) == 8 + 4 + 16


def test_what_is_computed_from_constants_is_constant() -> None:
    """Tensor 1 is stored and 2 is computed from it; 3 depends on the input 0; -1 is an omitted input."""
    operations = [operation("DEQUANTIZE", [1], [2]), operation("CONV_2D", [0, 2, -1], [3])]
    constants = constants_of(operations, inputs=[0])
    assert constants == {-1, 1, 2}
    tensors = details((5,), (7,), (7,), (3,))
    assert [moved_bytes(x, tensors, constants) for x in operations] == [0, 4 * (5 + 3)]


def test_a_rank_that_accelerators_refuse() -> None:
    tensors = details((1, 2, 2, 4), (1, 2, 2, 2, 2), (1, 4, 4, 1), (1, 4, 4, 1))
    operations = [
        operation("RESHAPE", [0], [1], index=0),
        operation("RESHAPE", [1], [2], index=1),
        operation("ADD", [2, 2], [3], index=2),
        operation("TILE", [3], [3], index=3),
    ]
    found = find_coverage(operations, [operation("DELEGATE", [2], [3], index=4)], tensors, [0] * 4)
    assert found["GPU"].leaves == {"RESHAPE": 2, "TILE": 1}
    assert found["GPU"].operations == 0.25
    assert found["GPU"].multiply_adds is None, "there are none"
