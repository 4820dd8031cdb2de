"""Unfusing the activation of a transposed conv keeps its outputs, and phone GPUs support the result."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

import spinenet_tf
from spinenet_tf import ArchitectureSpec, export
from spinenet_tf.export.litert.conversion import convert
from spinenet_tf.export.rewrites.flat_graph import parse
from spinenet_tf.export.rewrites.unfusing import unfuse
from spinenet_tf.export.signatures import raw_function
from spinenet_tf.inference.inspection import inspect

SHAPE = (64, 128, 3)
UP = ArchitectureSpec("up", (2, 3), (), {2: 4, 3: 8}, stem_block="residual", fusion="deconv")


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((2, *SHAPE), "float32")


def transposed(content: bytes) -> list[tuple[int, int]]:
    """Return the fused activation and the version of each transposed conv."""
    model = parse(content)
    codes = [model.operatorCodes[x.opcodeIndex] for x in model.subgraphs[0].operators]
    pairs = zip(model.subgraphs[0].operators, codes, strict=True)
    return [(x.builtinOptions.fusedActivationFunction, code.version) for x, code in pairs if code.builtinCode == 67]


def run(content: bytes, images: np.ndarray) -> np.ndarray:
    return Interpreter(model_content=content).get_signature_runner()(images=images[:1])["P2"]


@pytest.mark.parametrize("quantization", ["none", "int8"])
@pytest.mark.parametrize("activation", ["relu", "relu6"])
def test_outputs_stay_to_the_last_bit(randomize, images, activation, quantization) -> None:
    net = randomize(spinenet_tf.backbone(UP, SHAPE, endpoint=8, activation=activation))
    fused = convert(raw_function(net, 1), quantization, [images])
    plain = unfuse(fused)
    assert [version for _, version in transposed(fused)] == [4]
    assert transposed(plain) == [(0, 3)]
    expected = run(fused, images)
    assert expected.std() > 0
    np.testing.assert_array_equal(run(plain, images), expected)


def test_what_has_no_transposed_conv_stays_as_it_is(tiny_backbone) -> None:
    content = convert(raw_function(tiny_backbone, 1), "none", None)
    assert unfuse(content) is content


@pytest.mark.parametrize(("target", "quantization"), [("gpu", "fp16"), ("npu", "int8")])
def test_files_for_accelerators_are_written_so(randomize, images, tmp_path, target, quantization) -> None:
    net = randomize(spinenet_tf.backbone(UP, SHAPE, endpoint=8))
    report = export.tflite(net, tmp_path / "a.tflite", quantization, [images], target=target)
    assert transposed(report.path.read_bytes()) == [(0, 3)]
    assert inspect(report.path).ops["RELU"] == 1
