"""The ONNX file has the same outputs in ONNX Runtime as the Keras model."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import onnx as onnx_format
import onnxruntime
import pytest

import spinenet_tf
from spinenet_tf import ArchitectureSpec, BlockSpec, export
from spinenet_tf.export import onnxmodel
from spinenet_tf.export.check.verify import TOLERANCES
from spinenet_tf.heads.retinanet import RetinaNet, RetinaNetOptions
from spinenet_tf.inference.naming import flatten
from spinenet_tf.nets.family import variant

SMALL = {"width": 0.25, "endpoint": 16, "head_width": 16}
# One of each graph and number of repeats; widths are in no operation's choice.
MOBILE = ("spinenet_mobile_49xs", "spinenet_mobile_49xs_lite", "eff_spinenet_m0", "eff_spinenet_m0_lite")
FAMILY = ("spinenet_96", "spinenet_143", "spinenet_190", *MOBILE)
LADDER = ("r50_fpn", "r23_sp30", "r0_sp53")
CASES = [
    ("resnet_18", (32, 32)),
    pytest.param("spinenet_49", (128, 128), marks=pytest.mark.slow),
    *(pytest.param(name, (128, 128), marks=pytest.mark.soak) for name in (*FAMILY, *LADDER)),
    *(pytest.param(name, (64, 96), marks=pytest.mark.soak) for name in ("spinenet_49", "spinenet_mobile_49xs")),
]


def graph(kind: str, stem: tuple[int, int]) -> ArchitectureSpec:
    """Return a graph of three blocks, the last of which upsamples its inputs."""
    parents = {3: (0, 1), 5: (1, 2), 4: (2, 3)}
    blocks = tuple(BlockSpec(level, kind, pair, is_output=True) for level, pair in parents.items())
    mobile = {"stem_conv": "mobile", "stem_block": "mbconv", "resampling": "depthwise"}
    parts = mobile if kind == "mbconv" else {}
    return ArchitectureSpec("three_blocks", stem, blocks, dict.fromkeys(range(6), 4), **parts)


@pytest.fixture(scope="module")
def mobile(randomize):
    """A detector with depthwise convs, squeeze-and-excitation and upsampling."""
    backbone = spinenet_tf.backbone(graph("mbconv", (1, 2)), (64, 64, 3), max_level=5, endpoint=8)
    return randomize(RetinaNet(backbone, 2, RetinaNetOptions(head_depth=2, head_width=8)))


@pytest.fixture(scope="module")
def artifact(mobile, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    return export.onnx(mobile, path, class_names=["cat", "dog"], batch_size=None)


def test_outputs_equal_keras_for_any_batch(mobile, artifact) -> None:
    images = np.random.default_rng(3).standard_normal((2, 64, 64, 3), "float32")
    actual = run(artifact.path, images)
    expected = flatten(mobile(images, training=False))
    assert actual.keys() == expected.keys()
    for name, x in expected.items():
        np.testing.assert_allclose(actual[name], x, rtol=1e-4, atol=1e-4)
    assert artifact.difference["max"] < 1e-4
    assert artifact.size == artifact.path.stat().st_size


def test_the_graph_is_what_an_engine_takes_gladly(artifact) -> None:
    model = onnx_format.load(str(artifact.path))
    onnx_format.checker.check_model(model, full_check=True)
    operations = Counter(node.op_type for node in model.graph.node)
    assert operations["Resize"] > 0
    assert b"tf_half_pixel_for_nn" not in model.SerializeToString()
    assert operations["Transpose"] < operations["Conv"] / 2


def test_the_metadata_is_inside_and_beside(artifact) -> None:
    properties = {entry.key: entry.value for entry in onnx_format.load(str(artifact.path)).metadata_props}
    inside = json.loads(properties["metadata.json"])
    assert inside["class_names"] == ["cat", "dog"]
    assert inside == json.loads((artifact.path.parent / "model.metadata.json").read_text())
    assert (artifact.path.parent / "model.labels.txt").read_text() == "cat\ndog\n"


def test_a_file_that_fails_its_check_is_not_left(tiny_backbone, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(TOLERANCES, "none", -1.0)
    with pytest.raises(export.ExportError, match="differs from Keras"):
        export.onnx(tiny_backbone, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_mistakes_are_refused_before_any_work(mobile, tmp_path, monkeypatch) -> None:
    with pytest.raises(ValueError, match=r"must end in \.onnx"):
        export.onnx(mobile, tmp_path / "model.tflite")
    monkeypatch.setitem(__import__("sys").modules, "tf2onnx", None)
    with pytest.raises(ImportError, match=r"pip install spinenet_tf\[onnx\]"):
        export.onnx(mobile, tmp_path / "model.onnx")


def run(path, images: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"images": images}), strict=True))


def assert_equal_with_maps_of_one_pixel(model, path) -> None:
    """Export for one image, and compare the outputs on another image than the export's check."""
    export.onnx(model, path)
    images = np.random.default_rng(3).standard_normal((1, *model.input_shape[1:]), "float32")
    actual, expected = run(path, images), flatten(model(images, training=False))
    layers = getattr(model, "backbone", model).layers
    assert min(tuple(layer.output.shape[1:3]) for layer in layers) == (1, 1)
    largest = max(np.abs(x).max() for x in expected.values())
    for name, x in expected.items():
        np.testing.assert_allclose(actual[name], x, atol=1e-4 * largest)


@pytest.mark.parametrize(("kind", "stem"), [("bottleneck", (2, 2)), ("mbconv", (1, 2))])
def test_a_sum_of_maps_of_one_pixel_is_no_bias(randomize, tmp_path, kind, stem) -> None:
    """For a batch of one, Keras writes such a sum as a bias, and tf2onnx wrote a conv with two biases."""
    model = randomize(spinenet_tf.backbone(graph(kind, stem), (32, 32, 3), max_level=5, endpoint=8))
    assert_equal_with_maps_of_one_pixel(model, tmp_path / "model.onnx")


@pytest.mark.parametrize(("name", "sides"), CASES)
def test_so_it_is_in_every_graph(stirred, tmp_path, name, sides) -> None:
    detector = stirred(spinenet_tf.detector(name, 2, (*sides, 3), **SMALL))
    assert_equal_with_maps_of_one_pixel(detector, tmp_path / "model.onnx")


def test_no_graph_is_left_out() -> None:
    def kinds(names):
        return {(row.graph.name, row.style.get("repeats"), row.style.get("activation")) for row in map(variant, names)}

    assert kinds(["spinenet_49", *FAMILY, *LADDER, "resnet_18"]) == kinds(spinenet_tf.list_models())


def test_an_error_of_tf2onnx_is_one_line(tiny_backbone, tmp_path, monkeypatch) -> None:
    def fail(*args, **options):
        raise KeyError("no such\nnode")

    monkeypatch.setattr("tf2onnx.convert.from_function", fail)
    with pytest.raises(export.ExportError) as caught:
        export.onnx(tiny_backbone, tmp_path / "model.onnx")
    assert str(caught.value) == r"tf2onnx cannot convert this net. Received: KeyError: 'no such\nnode'"
    assert not list(tmp_path.iterdir())


def test_an_error_of_onnx_runtime_is_one_line(tiny_backbone, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(onnxmodel, "_converted", lambda raw, opset: onnx_format.ModelProto())
    with pytest.raises(export.ExportError, match=r"^ONNX Runtime cannot run the file\. Received: .+$"):
        export.onnx(tiny_backbone, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
