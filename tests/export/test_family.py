"""Every model of the family exports, and the mobile nets in every quantization, as one delegate partition.

Nets are narrow (`SMALL`), which changes no operation, and repeat their blocks at most twice; what depends on the graph
is tested at the size of the table: the nets whose graphs differ are SpineNet-49, SpineNet-Mobile, its lite one, lite
Eff-SpineNet and ResNet-18, and `test_sizes_of_a_mobile_net_have_one_graph` says that others are the same operations.
`make test-soak` also tries what repeats these operations: other widths, more repeats, other nets with a quantization.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import cycle

import numpy as np
import pytest
import tensorflow as tf

import spinenet_tf
from spinenet_tf import export
from spinenet_tf.export.litert.conversion import convert
from spinenet_tf.export.litert.tflite_file import QUANTIZATIONS
from spinenet_tf.export.signatures import raw_function
from spinenet_tf.heads.table import head_of, options_of
from spinenet_tf.inference.inspection import inspect
from spinenet_tf.inference.naming import flatten, nest
from spinenet_tf.nets.costs import multiply_adds
from spinenet_tf.nets.family import Variant, variant

SIDE = 128
SMALL = {"width": 0.25, "endpoint": 16, "head_width": 16}
GRAPHS = ("spinenet_49", "spinenet_mobile_49xs", "spinenet_mobile_49xs_lite", "resnet_18")
FUSED = "mobile_fused"  # the lite mobile net, every other block fused
EFFICIENT, SWISH = "eff_spinenet_m0_lite", "eff_spinenet_m0"
soak = partial(pytest.param, marks=pytest.mark.soak)
LADDER = ("r50_fpn", "r0_sp53")  # r23_sp30 has the operations of both
MODELS = [name if name in GRAPHS + LADDER else soak(name) for name in spinenet_tf.list_models()]
ACTIVATIONS = [("spinenet_49", "swish"), (GRAPHS[1], "relu6"), soak("spinenet_49", "relu6"), soak(GRAPHS[1], "relu")]
FILES = [
    (name, quantization) if name == GRAPHS[1] or quantization in ("none", "int8") else soak(name, quantization)
    for name in (*GRAPHS, FUSED, EFFICIENT)
    for quantization in QUANTIZATIONS
]
NETS = (*GRAPHS, FUSED, EFFICIENT, soak(SWISH))
# As measured on these nets, with room: the largest difference to Keras, relative to the largest output.
BOUNDS = {"none": 1e-4, "fp16": 5e-3, "dynamic": 0.1, "int8": 0.2, "int16x8": 0.1}


def with_fused_blocks(row: Variant) -> Variant:
    kinds = cycle(("mbconv", "fused_mbconv"))
    blocks = tuple(replace(block, kind=kind) for block, kind in zip(row.graph.blocks, kinds, strict=False))
    return replace(row, graph=replace(row.graph, blocks=blocks))


@pytest.fixture(scope="module")
def build(stirred) -> Callable:
    """Return `build(name)`, which returns a small detector, built once."""
    made = {}

    def get(name: str):
        if name not in made:
            net = with_fused_blocks(variant("spinenet_mobile_49xs_lite")) if name == FUSED else name
            options = {
                "repeats": min(2, variant(net).style.get("repeats", 1)),
                "score_threshold": 0.2,
                "max_detections": 20,
            }
            if "head_depth" in head_of(net, "detection").options.names():
                options["head_depth"] = 1
            made[name] = stirred(spinenet_tf.detector(net, 2, (SIDE, SIDE, 3), **SMALL, **options))
        return made[name]

    return get


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((2, SIDE, SIDE, 3), "float32")


def assert_same_detections(found, expected) -> None:
    """Compare the scores, and the boxes and classes of detections whose rank rounding cannot change."""
    scores, others = np.asarray(expected["scores"]), np.asarray(found["scores"])
    assert (scores > 0).any(axis=1).all()
    np.testing.assert_allclose(others, scores, atol=1e-4)
    gaps = np.abs(scores[:, :, None] - scores[:, None]) + np.eye(scores.shape[1])
    clear = (gaps.min(axis=2) > 2 * np.abs(others - scores).max()) & (scores > 0)
    assert clear.any()
    np.testing.assert_allclose(np.asarray(found["boxes"])[clear], np.asarray(expected["boxes"])[clear], atol=0.05)
    np.testing.assert_array_equal(np.asarray(found["classes"])[clear], np.asarray(expected["classes"])[clear])


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_every_model_detects_as_keras_does(build, pictures, name, tmp_path) -> None:
    """The .tflite is for phone GPUs: the export fails if they do not support an operation or a rank."""
    detector = build(name)
    raw = detector(pictures, training=False)
    expected = detector.detect(pictures, raw)
    artifact = export.tflite(detector, tmp_path / "model.tflite", target="gpu")
    assert artifact.difference["max"] < 1e-4
    found = export.TFLiteModel(artifact.path).raw(pictures)
    assert_same_detections(detector.detect(pictures, found), expected)
    assert export.saved_model(detector, tmp_path / "saved").difference["max"] < 1e-4
    serve = tf.saved_model.load(str(tmp_path / "saved")).signatures["serve"]
    assert_same_detections(serve(images=tf.constant(pictures)), expected)


@pytest.fixture(scope="module")
def quantized(build, pictures, tmp_path_factory) -> Callable:
    """Return `quantized(name, quantization)`, which returns the path of a raw file for CPUs, converted once."""
    folder, functions, paths = tmp_path_factory.mktemp("quantized"), {}, {}

    def get(name: str, quantization: str):
        upsampling = "resize" if quantization == "int16x8" else "concat"
        if (name, upsampling) not in functions:
            functions[name, upsampling] = raw_function(build(name), 1, upsampling=upsampling)
        if (name, quantization) not in paths:
            paths[name, quantization] = folder / f"{name}-{quantization}.tflite"
            content = convert(functions[name, upsampling], quantization, [pictures], xnnpack=upsampling == "concat")
            paths[name, quantization].write_bytes(content)
        return paths[name, quantization]

    return get


@pytest.mark.parametrize(("name", "quantization"), FILES)
def test_every_quantization_is_near_keras(build, quantized, pictures, name, quantization) -> None:
    expected = flatten(build(name)(pictures[:1], training=False))
    found = flatten(run(quantized(name, quantization), pictures[:1]))
    largest = max(np.abs(x).max() for x in expected.values())
    assert max(np.abs(found[key] - x).max() for key, x in expected.items()) < BOUNDS[quantization] * largest


@pytest.mark.parametrize("quantization", ["none", "int8"])
@pytest.mark.parametrize("name", NETS)
def test_cpus_run_all_of_it_in_one_part(quantized, name, quantization) -> None:
    found = inspect(quantized(name, quantization))
    assert (found.xnnpack_partitions, found.xnnpack_leaves) == (1, {})
    assert found.max_rank == 4


@pytest.mark.parametrize("name", NETS)
def test_it_multiplies_as_often_as_keras(build, quantized, name) -> None:
    """Convs, also depthwise and transposed ones."""
    found = inspect(quantized(name, "none")).multiply_adds
    assert sum(found.values()) == multiply_adds(build(name))


@pytest.mark.parametrize(("name", "activation"), ACTIVATIONS)
def test_so_they_do_with_other_activations(pictures, name, activation, tmp_path) -> None:
    detector = spinenet_tf.detector(name, 2, (SIDE, SIDE, 3), **SMALL, head_depth=1, activation=activation)
    raw = raw_function(detector, 1, upsampling="concat")
    for quantization in ("none", "int8"):
        path = tmp_path / f"{quantization}.tflite"
        path.write_bytes(convert(raw, quantization, [pictures], xnnpack=True))
        assert (inspect(path).xnnpack_partitions, inspect(path).xnnpack_leaves) == (1, {})


@pytest.mark.parametrize("name", spinenet_tf.list_models("mobile") + spinenet_tf.list_models("efficient"))
def test_sizes_of_a_mobile_net_have_one_graph(name) -> None:
    """They differ only in width, which does not affect the choice of operations, and some in the depth of the head."""
    found, is_lite = variant(name), name.endswith("_lite")
    smallest = next(variant(one) for one in spinenet_tf.list_models(found.kind) if one.endswith("_lite") == is_lite)
    assert found.graph is smallest.graph
    scaled = ("width", "endpoint")
    assert {**found.style, **dict.fromkeys(scaled)} == {**smallest.style, **dict.fromkeys(scaled)}
    options, of_smallest = (options_of(row, head_of(row, "detection")) for row in (found, smallest))
    scaled_head = {"head_width": 8, "head_depth": 1}
    assert replace(options, **scaled_head) == replace(of_smallest, **scaled_head)


def run(path, images: np.ndarray):
    from ai_edge_litert.interpreter import Interpreter

    return nest(Interpreter(model_path=str(path), num_threads=1).get_signature_runner()(images=images))
