"""Layers that stay in float, and layers that lose accuracy in int8."""

from __future__ import annotations

import numpy as np
import pytest

from spinenet_tf import backbone, export
from spinenet_tf.export.litert.conversion import calibrate_named
from spinenet_tf.export.litert.provenance import Provenance
from spinenet_tf.export.signatures import raw_function
from spinenet_tf.heads.retinanet import RetinaNet, RetinaNetOptions
from spinenet_tf.inference.inspection import inspect
from spinenet_tf.inference.metadata import read_metadata

CLIPPED = "box_conv0"


@pytest.fixture(scope="module")
def small(tiny_backbone) -> RetinaNet:
    """Return a detector in which one channel of a conv is a thousand times larger than the others, and unused."""
    detector = RetinaNet(tiny_backbone, 2, RetinaNetOptions(head_depth=1, head_width=8))
    random = np.random.default_rng(0)
    for weight in detector.weights:
        if "predictor" in weight.path:
            weight.assign(random.normal(0.0, 0.3, weight.shape))
    kernel, reader = detector.get_layer(CLIPPED).kernel, detector.get_layer("box_predictor").kernel
    others = np.arange(8) > 0
    kernel.assign(kernel * np.where(others, 1, 1000))
    reader.assign(reader * others[:, None])
    return detector


@pytest.fixture(scope="module")
def squares() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((4, 64, 64, 3), "float32")


@pytest.fixture(scope="module")
def found(small, squares) -> export.litert.sensitivity.Sensitivity:
    return export.find_sensitive(small, [squares], squares[:2])


def test_a_channel_lost_in_anothers_range_makes_the_noisiest_layer(found) -> None:
    assert found.layers[0].layer == CLIPPED
    assert found.layers[0].operations == ["CONV_2D"]
    assert found.layers[0].noise > 0.5 > found.layers[1].noise
    assert found.layers[0].steps < 1  # though its scale is as fine as its range allows


def test_every_layer_with_an_operation_is_there_once(found, small) -> None:
    names = [layer.layer for layer in found.layers]
    assert len(set(names)) == len(names)
    assert set(names) <= set(Provenance(small).layers)
    assert {"stem_conv", "block5_fuse", "endpoint_P3", "class_conv0", "box_predictor"} <= set(names)


def test_what_a_part_does_to_the_outputs_is_measured(found) -> None:
    parts = {part.pattern: part for part in found.parts}
    assert {"stem_*", "block2_*", "endpoint_*", "class_*", "box_*", "class_predictor", "box_predictor"} <= set(parts)
    assert [part.gain for part in found.parts] == sorted((part.gain for part in found.parts), reverse=True)
    assert parts["box_predictor"].operations == 3  # the levels
    # The towers know nothing of each other.
    assert parts["box_*"].errors["scores"] == found.errors["scores"]
    assert parts["box_*"].errors["box_deltas"] < found.errors["box_deltas"]
    assert found.parts[0].pattern == "box_*"


def test_all_in_float_is_keras(small, squares) -> None:
    found = export.find_sensitive(small, [squares], squares[:2], keep_float=["*"])
    assert max(found.errors.values()) < 1e-4
    assert (found.layers, found.parts) == ([], [])


def test_the_layers_of_a_pattern_stay_in_float(small, squares, tmp_path) -> None:
    """The levels share a conv; the metadata lists the float layers, and the outputs are closer to Keras's."""
    whole = export.tflite(small, tmp_path / "whole.tflite", "int8", [squares])
    part = export.tflite(small, tmp_path / "part.tflite", "int8", [squares], keep_float=["box_predictor", "class_p*"])
    assert inspect(whole.path).float_ops == {}
    assert inspect(part.path).float_ops == {"CONV_2D": 6}
    assert read_metadata(whole.path).float_layers == []
    assert read_metadata(part.path).float_layers == ["box_predictor", "class_predictor"]
    expected = small(squares[:1], training=False)["class_logits"]["P3"]
    outputs = [export.TFLiteModel(artifact.path).raw(squares[:1])["class_logits"]["P3"] for artifact in (whole, part)]
    errors = [np.abs(output - expected).mean() for output in outputs]
    assert 0 < errors[1] < errors[0]
    assert whole.size < part.size < whole.size + 4 * 8 * 9 * (2 + 4) * 9 + 1000


def test_patterns_are_known_before_any_work(small, squares, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("spinenet_tf.export.litert.tflite_file.raw_function", None)
    with pytest.raises(ValueError, match=r"Similar names: box_predictor, .*Received: \['box_predictr'\]"):
        export.tflite(small, tmp_path / "a.tflite", "int8", [squares], keep_float=["box_*", "box_predictr"])
    with pytest.raises(ValueError, match=r"keep_float needs quantization='int8'.* Received: quantization='fp16'"):
        export.tflite(small, tmp_path / "a.tflite", "fp16", keep_float=["box_*"])


def test_a_layer_that_is_folded_into_another_cannot_stay(tiny_spec, squares, tmp_path) -> None:
    fresh = backbone(tiny_spec, (64, 64, 3), max_level=5, endpoint=8)  # an untrained BN leaves not even its name
    with pytest.raises(ValueError, match=r"others absorb them. Received: keep_float=\['block2_conv3_bn'\]"):
        export.tflite(fresh, tmp_path / "a.tflite", "int8", [squares], keep_float=["block2_conv3_bn"])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("tensor", "layers"),
    [
        ("net_1/tiny_1/stem_conv_1/convolution1", ["stem_conv"]),
        ("net/box_conv0_3/separable_conv2d/depthwise", ["box_conv0"]),
        ("block2_fuse_act_1/Relu;block2_fuse_1/Add", ["block2_fuse_act", "block2_fuse"]),
        ("arith.constant13", []),
    ],
)
def test_layers_are_read_off_the_names_of_tensors(small, tensor, layers) -> None:
    assert Provenance(small).layers_of(tensor) == layers


def test_outputs_are_named_after_the_layers_that_make_them(small, squares) -> None:
    provenance = Provenance(small)
    model = calibrate_named(raw_function(small, 1), provenance, [squares])
    names = {x.name.decode(): x.tensorIndex for x in model.signatureDefs[0].outputs}
    tensors = model.subgraphs[0].tensors
    assert tensors[names["box_deltas_P4"]].name == b"box_predictor/box_deltas_P4"
    assert len(provenance.tensors_of(model, ["class_predictor"])) == 3
