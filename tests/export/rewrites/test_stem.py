"""Packing the stem for XNNPACK does not change a graph's outputs."""

from __future__ import annotations

from collections import Counter
from copy import deepcopy

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter, OpResolverType

import spinenet_tf
from spinenet_tf.export.litert.calibration import calibrate, to_integers
from spinenet_tf.export.litert.conversion import converter
from spinenet_tf.export.rewrites import flat_graph
from spinenet_tf.export.rewrites.flat_graph import parse, serialize
from spinenet_tf.export.rewrites.stem import _packed_kernel, pack_stem
from spinenet_tf.export.signatures import raw_function
from spinenet_tf.inference.interpreter import operations_of

SHAPE = (64, 128, 3)


@pytest.fixture(scope="module")
def raws(tiny_spec, tiny_mobile_spec, randomize) -> dict:
    """The functions of two small backbones: one of bottlenecks, one of MBConv blocks with swish and SE."""
    build = {"standard": tiny_spec, "mobile": tiny_mobile_spec}
    return {
        kind: raw_function(
            randomize(spinenet_tf.backbone(spec, SHAPE, max_level=5, endpoint=8)), 1, upsampling="concat"
        )
        for kind, spec in build.items()
    }


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((2, *SHAPE), "float32")


def loaded(content: bytes) -> Interpreter:
    without = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    return Interpreter(model_content=content, experimental_op_resolver_type=without)


def run(content: bytes, images: np.ndarray) -> list[dict]:
    runners = [
        interpreter.get_signature_runner() for interpreter in (loaded(content), Interpreter(model_content=content))
    ]
    return [runner(images=images[:1]) for runner in runners]


def operations(content: bytes) -> Counter:
    return Counter(operation["op_name"] for operation in operations_of(loaded(content)))


def unused(model) -> int:
    """Return the number of tensors without operator, and of buffers with values but without tensor."""
    graph = model.subgraphs[0]
    read = {int(x) for operator in graph.operators for x in (*operator.inputs, *operator.outputs)}
    buffers = {tensor.buffer for tensor in graph.tensors} | {x.buffer for x in model.metadata or ()}
    values = [number for number, buffer in enumerate(model.buffers) if buffer.data is not None]
    return len(set(range(len(graph.tensors))) - read) + len(set(values) - buffers)


def test_integers_stay_to_the_last_bit(raws, images) -> None:
    """The outputs are bit-identical with TFLite's kernels and with XNNPACK's."""
    for kind, raw in raws.items():
        with converter(raw) as conversion:
            plain = calibrate(conversion, [images], (1, *SHAPE))
        rewritten = deepcopy(plain)
        pack_stem(rewritten)
        assert unused(rewritten) == 0
        before, after = to_integers(plain), to_integers(rewritten)
        assert operations(after) == operations(before) + Counter(RESHAPE={"standard": 1, "mobile": 2}[kind])
        for expected, found in zip(run(before, images), run(after, images), strict=True):
            for name, x in expected.items():
                assert x.std() > 0
                np.testing.assert_array_equal(found[name], x)


def test_bytes_are_those_of_tensorflows_own_schema(raws, images, monkeypatch) -> None:
    """LiteRT's schema and tools, which rewrite files here, produce the same bytes as those of TensorFlow 2.21."""
    with converter(raws["mobile"]) as conversion:
        content = serialize(calibrate(conversion, [images], (1, *SHAPE)))

    def rewritten() -> bytes:
        model = parse(content)
        pack_stem(model)
        return serialize(model)

    expected = rewritten()
    assert expected != content
    monkeypatch.setattr(flat_graph, "schema", pytest.importorskip("tensorflow.lite.python.schema_py_generated"))
    monkeypatch.setattr(flat_graph, "flatbuffer_utils", pytest.importorskip("tensorflow.lite.tools.flatbuffer_utils"))
    assert type(parse(content)).__module__.startswith("tensorflow.")
    assert rewritten() == expected


@pytest.mark.parametrize("size", [3, 5, 7])
@pytest.mark.parametrize("outputs", [1, 2, 4])
def test_a_packed_kernel_is_the_same_conv(size, outputs) -> None:
    random = np.random.default_rng(size)
    images, kernel = random.standard_normal((1, 9, 16, 3)), random.standard_normal((5, size, size, 3))
    expected = tf.nn.conv2d(images, kernel.transpose(1, 2, 3, 0), 2, "SAME")
    packed = _packed_kernel(kernel, outputs).transpose(1, 2, 3, 0)
    found = tf.nn.conv2d(images.reshape(1, 9, -1, 6 * outputs), packed, (2, 1), "SAME")
    np.testing.assert_allclose(tf.reshape(found, expected.shape), expected, atol=1e-12)
