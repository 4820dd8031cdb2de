"""The ONNX file does what Keras does, in ONNX Runtime."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import onnx as onnx_format
import onnxruntime
import pytest

import spinenet_tf
from spinenet_tf import export
from spinenet_tf.export.signatures import flatten
from spinenet_tf.export.verify import TOLERANCES
from spinenet_tf.retinanet import RetinaNet


@pytest.fixture(scope="module")
def mobile(tiny_spec, randomize):
    """A detector with depthwise convs, squeeze-and-excitation and upsampling."""
    blocks = tuple(replace(block, kind="mbconv") for block in tiny_spec.blocks)
    spec = replace(tiny_spec, name="mobile", stem=(1, 2), blocks=blocks, widths=dict.fromkeys(range(6), 4))
    backbone = spinenet_tf.backbone(spec, (64, 64, 3), max_level=5, endpoint=8)
    return randomize(RetinaNet(backbone, num_classes=2, head_depth=2, head_width=8))


@pytest.fixture(scope="module")
def report(mobile, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    return export.onnx(mobile, path, class_names=["cat", "dog"], batch_size=None)


def test_outputs_equal_keras_for_any_batch(mobile, report) -> None:
    images = np.random.default_rng(3).standard_normal((2, 64, 64, 3), "float32")
    session = onnxruntime.InferenceSession(str(report.path), providers=["CPUExecutionProvider"])
    assert [x.name for x in session.get_inputs()] == ["images"]
    names = [x.name for x in session.get_outputs()]
    actual = dict(zip(names, session.run(names, {"images": images}), strict=True))
    expected = flatten(mobile(images, training=False))
    assert actual.keys() == expected.keys()
    for name, x in expected.items():
        np.testing.assert_allclose(actual[name], x, rtol=1e-4, atol=1e-4)
    assert report.difference["max"] < 1e-4
    assert report.size == report.path.stat().st_size


def test_the_graph_is_what_an_engine_takes_gladly(report) -> None:
    model = onnx_format.load(str(report.path))
    onnx_format.checker.check_model(model, full_check=True)
    operations = Counter(node.op_type for node in model.graph.node)
    assert operations["Resize"] > 0
    assert b"tf_half_pixel_for_nn" not in model.SerializeToString()
    assert operations["Transpose"] < operations["Conv"] / 2


def test_the_metadata_is_inside_and_beside(report) -> None:
    properties = {entry.key: entry.value for entry in onnx_format.load(str(report.path)).metadata_props}
    inside = json.loads(properties["metadata.json"])
    assert inside["class_names"] == ["cat", "dog"]
    assert inside == json.loads((report.path.parent / "model.metadata.json").read_text())
    assert (report.path.parent / "model.labels.txt").read_text() == "cat\ndog\n"


def test_a_file_that_fails_its_check_is_not_left(mobile, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(TOLERANCES, "none", -1.0)
    with pytest.raises(export.ExportError, match="differs from Keras"):
        export.onnx(mobile, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_mistakes_are_refused_before_any_work(mobile, tmp_path, monkeypatch) -> None:
    with pytest.raises(ValueError, match=r"ends in \.onnx"):
        export.onnx(mobile, tmp_path / "model.tflite")
    monkeypatch.setitem(__import__("sys").modules, "tf2onnx", None)
    with pytest.raises(ImportError, match=r"pip install spinenet_tf\[onnx\]"):
        export.onnx(mobile, tmp_path / "model.onnx")
