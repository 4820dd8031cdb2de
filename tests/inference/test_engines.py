"""One interface to every engine, for models of this package and for other artifacts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from spinenet_tf.inference.artifacts import ONNX, OPENVINO, SAVED_MODEL, TFLITE, bytes_of, engine_of
from spinenet_tf.inference.engines import FUNCTION, KERAS, Setup, load
from spinenet_tf.inference.openvinofile import openvino_runtime


@pytest.fixture(scope="module")
def setups(tiny_run, tiny_tflite, tiny_saved_model, tiny_onnx) -> list[Setup]:
    """Return the five ways to run the model; TFLite runs its int8 file."""
    artifacts = {SAVED_MODEL: tiny_saved_model, TFLITE: tiny_tflite, ONNX: tiny_onnx}
    paths = {KERAS: tiny_run, FUNCTION: tiny_run} | artifacts
    return [Setup(engine, path, 1 if engine == TFLITE else None, engine) for engine, path in paths.items()]


def test_all_forms_give_the_same_detections(setups, tiny_model) -> None:
    found = {setup.engine: load(setup) for setup in setups}
    assert {runner.shape for runner in found.values()} == {(1, 64, 64, 3)}
    assert all(runner.detects for runner in found.values())
    outputs = {engine: runner.on_example()() for engine, runner in found.items()}
    for output in outputs.values():
        assert {name: value.shape for name, value in output.items()} == {
            **{"boxes": (1, 100, 4), "scores": (1, 100), "classes": (1, 100), "num_detections": (1,)}
        }
    for engine in (FUNCTION, SAVED_MODEL, ONNX):
        np.testing.assert_allclose(outputs[engine]["scores"], outputs[KERAS]["scores"], atol=1e-5)


def test_raw_is_the_network_alone(setups, tiny_model) -> None:
    for setup in setups[1:]:
        runner = load(setup, raw=True)
        assert not runner.detects
        assert len(tf.nest.flatten(runner.on_example()())) == 6, "three levels of two outputs each"


@pytest.fixture
def foreign_openvino(foreign, tmp_path) -> Path:
    """Return the .xml file that OpenVINO writes of a SavedModel."""
    pytest.importorskip("openvino")
    runtime, path = openvino_runtime(), tmp_path / "mean.xml"
    runtime.serialize(runtime.Core().read_model(foreign[SAVED_MODEL]), path)
    assert bytes_of(path) == path.stat().st_size + path.with_suffix(".bin").stat().st_size
    return path


@pytest.mark.parametrize("engine", [SAVED_MODEL, TFLITE, OPENVINO])
def test_artifacts_of_other_origin_run_as_they_are(foreign, engine, request) -> None:
    path = request.getfixturevalue("foreign_openvino") if engine == OPENVINO else foreign[engine]
    assert engine_of(path) == engine
    runner = load(Setup(engine, path, 1, "mean"))
    assert (runner.shape, runner.dtype, runner.detects) == ((1, 8, 16, 3), "uint8", False)
    image = runner.example()
    assert image.min() < 30 < 220 < image.max(), "noise fills the range of the type"
    (color,) = tf.nest.flatten(runner.call(image))
    np.testing.assert_allclose(color, image.mean(axis=(1, 2)), rtol=1e-4)


@pytest.mark.parametrize(
    ("sides", "problem"), [(["N", 3, 8, 16], ""), ([1, 3, "H", 16], "is not an image of fixed size")]
)
def test_onnx_files_run_in_onnx_runtime(tmp_path, sides, problem) -> None:
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("Relu", ["images"], ["relu"])],
        "relu",
        [helper.make_tensor_value_info("images", kind, sides)],
        [helper.make_tensor_value_info("relu", kind, sides)],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    onnx.save(model, tmp_path / "relu.onnx")
    setup = Setup(ONNX, tmp_path / "relu.onnx", 1, "relu")
    if problem:
        with pytest.raises(ValueError, match=problem):
            load(setup)
        return
    runner = load(setup)
    image = runner.example()
    assert (image.shape, image.dtype, runner.detects) == ((1, 3, 8, 16), np.float32, False)
    np.testing.assert_array_equal(runner.call(image)[0], np.maximum(image, 0))


def test_an_error_of_onnx_runtime_while_it_runs_is_the_users(tmp_path) -> None:
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("Reshape", ["images", "shape"], ["flat"])],
        "seven",
        [helper.make_tensor_value_info("images", kind, ["N", 8, 8, 3])],
        [helper.make_tensor_value_info("flat", kind, None)],
        [helper.make_tensor("shape", onnx.TensorProto.INT64, [2], [-1, 7])],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    onnx.save(model, tmp_path / "seven.onnx")
    with pytest.raises(ValueError, match=r"seven\.onnx fails on an image of its own size: .*Reshape"):
        load(Setup(ONNX, tmp_path / "seven.onnx", 1, "seven"))
