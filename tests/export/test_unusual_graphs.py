"""Graphs that no paper has, with blocks of one parent and of level 1, train, are drawn, exported and loaded again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

import spinenet_tf as sn
from spinenet_tf import ArchitectureSpec, BlockSpec
from spinenet_tf.export import webpage
from spinenet_tf.inference.inspection import inspect
from spinenet_tf.nets.costs import multiply_adds

SIDE = 64
WIDTHS = dict.fromkeys(range(5), 8)
MOBILE = {"stem_conv": "mobile", "stem_block": "fused_mbconv", "resampling": "depthwise"}
# The largest difference to Keras, relative to the largest output: as measured, with room.
BOUNDS = {"none": 1e-4, "fp16": 5e-3, "dynamic": 0.1, "int8": 0.1, "int16x8": 0.1}


def _blocks(coarse: str, fine: str) -> tuple[BlockSpec, ...]:
    """Return blocks of two kinds: most have one parent, which is finer, coarser, or of the same level."""
    return (
        BlockSpec(1, fine, (1,)),  # node 2
        BlockSpec(3, coarse, (2,)),
        BlockSpec(4, coarse, (0, 3)),
        BlockSpec(3, coarse, (4,), is_output=True),
        BlockSpec(4, fine, (5,), is_output=True),
    )


GRAPHS = {
    "standard": ArchitectureSpec("standard", (2, 2), _blocks("bottleneck", "residual"), WIDTHS),
    "mobile": ArchitectureSpec("mobile", (1, 2), _blocks("mbconv", "fused_mbconv"), WIDTHS, **MOBILE),
}
pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="export needs TensorFlow")


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((4, SIDE, SIDE, 3), "float32")


@pytest.fixture(scope="module")
def build(pictures, stirred, tmp_path_factory) -> Callable[[str], keras.Model]:
    """Return `build(name)`: a detector of a graph after a step of training, read from a YAML file and built once."""
    made, folder = {}, tmp_path_factory.mktemp("graphs")

    def get(name: str) -> keras.Model:
        if name not in made:
            GRAPHS[name].save(folder / f"{name}.yaml")
            made[name] = stirred(_detector(ArchitectureSpec.load(folder / f"{name}.yaml")))
            _train(made[name], pictures)
        return made[name]

    return get


def _detector(spec: ArchitectureSpec) -> keras.Model:
    options = {"endpoint": 8, "activation": "relu6", "head_depth": 1, "head_width": 8, "score_threshold": 0.001}
    return sn.detector(spec, 2, (SIDE, SIDE, 3), "retinanet", **options)


def _train(model: keras.Model, pictures: np.ndarray) -> None:
    before = {weight.path: np.array(weight.value) for weight in model.trainable_weights}
    model.compile(sn.optimizers.SGD(1e-3))
    model.run_eagerly = True  # a trace would take longer
    truth = {"boxes": np.full((4, 1, 4), [8, 8, 40, 40], "float32"), "classes": np.ones((4, 1), "int32")}
    model.fit(pictures, truth, verbose=0)
    after = {weight.path: np.array(weight.value) for weight in model.trainable_weights}
    moved = {path.partition("_")[0] for path, value in after.items() if (value != before[path]).any()}
    assert {f"block{node}" for node in range(2, 7)} < moved


@pytest.mark.parametrize("name", GRAPHS)
def test_weights_are_saved_and_loaded(build, pictures, name, tmp_path) -> None:
    build(name).save_weights(tmp_path / "net.weights.h5")
    copy = _detector(GRAPHS[name])
    copy.load_weights(tmp_path / "net.weights.h5")
    whole = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(build(name)))
    assert whole.backbone.spec == GRAPHS[name]
    expected = build(name)(pictures)
    keras.tree.map_structure(np.testing.assert_array_equal, copy(pictures), expected)


@pytest.mark.parametrize("name", GRAPHS)
def test_it_is_drawn_as_it_is_wired(build, name, tmp_path) -> None:
    (axes,) = sn.plot_architecture(build(name), tmp_path / "graph.svg").axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [f"level {level}" for level in (1, 2, 3, 4)]
    assert len(axes.patches) == 7 + 7, "seven nodes; the chain of the stem, four single parents, and two more"
    assert (tmp_path / "graph.svg").is_file()


@pytest.mark.parametrize("quantization", ["none", "int8"])
@pytest.mark.parametrize("name", GRAPHS)
def test_cpus_run_its_tflite_file_in_one_part(build, pictures, name, quantization, tmp_path) -> None:
    model, path = build(name), tmp_path / "model.tflite"
    artifact = sn.export.tflite(model, path, quantization, calibration=[pictures], outputs="raw")
    assert artifact.difference["max"] < BOUNDS[quantization]
    found = inspect(path)
    assert (found.xnnpack_partitions, found.xnnpack_leaves) == (1, {})
    if quantization == "none":  # in 8 bits the stem is rewritten
        assert sum(found.multiply_adds.values()) == multiply_adds(model)
    _assert_predicts(path)


@pytest.mark.parametrize(
    ("target", "quantization"),
    [("cpu", "fp16"), ("cpu", "dynamic"), ("cpu", "int16x8"), ("gpu", "none"), ("npu", "int8")],
)
def test_every_tflite_file_of_a_mobile_net_is_near_keras(build, pictures, target, quantization, tmp_path) -> None:
    """The export fails if the target does not support an operation."""
    given = {"calibration": [pictures]} if quantization.startswith("int") else {}
    artifact = sn.export.tflite(build("mobile"), tmp_path / "a.tflite", quantization, target=target, **given)
    assert artifact.difference["max"] < BOUNDS[quantization]


@pytest.mark.parametrize(("format", "file"), [("onnx", "model.onnx"), ("openvino", "model.xml")])
def test_other_engines_run_a_mobile_net(build, format, file, tmp_path) -> None:
    """The export fails if the file's outputs differ from Keras."""
    pytest.importorskip({"onnx": "tf2onnx", "openvino": "openvino"}[format])
    build("mobile").export(tmp_path / file, format=format, verbose=False)
    _assert_predicts(tmp_path / file)


def test_a_page_detects_by_its_file(build, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(webpage, "_vendor", lambda folder: None)  # npm fetches what no graph changes
    sn.export.web(build("mobile"), tmp_path / "page")
    _assert_predicts(tmp_path / "page" / webpage.MODEL)


@pytest.mark.parametrize("name", GRAPHS)
def test_a_saved_model_is_written_and_loaded(build, name, tmp_path) -> None:
    assert sn.export.saved_model(build(name), tmp_path / "saved").difference["max"] < 1e-4
    _assert_predicts(tmp_path / "saved")


def _assert_predicts(path: Path) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (50, 90, 3), dtype=np.uint8)
    found = sn.load(path)(photo)
    assert len(found.scores) > 0
    assert np.isfinite(found.boxes).all()
