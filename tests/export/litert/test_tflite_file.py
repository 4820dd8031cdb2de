"""The .tflite file has the same outputs as Keras, with operations that phones support."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from spinenet_tf import export
from spinenet_tf.export.check.verify import float_difference
from spinenet_tf.export.rewrites.flat_graph import parse
from spinenet_tf.heads.retinanet import RetinaNet, RetinaNetOptions
from spinenet_tf.inference.inspection import inspect
from spinenet_tf.inference.interpreter import operations_of
from spinenet_tf.inference.metadata import read_metadata
from spinenet_tf.inference.naming import flatten

# As measured on this net, with room: the files' largest difference, relative to the largest output.
BOUNDS = {"none": 1e-5, "fp16": 2e-3, "dynamic": 0.05, "int8": 0.1}
# Sizes of a static graph are numbers, BN lies in the convs, sums are pairwise, and nothing is TensorFlow's.
FORBIDDEN = {
    "SHAPE",
    "STRIDED_SLICE",
    "PACK",
    "VAR_HANDLE",
    "READ_VARIABLE",
    "ADD_N",
    "TILE",
    "SUB",
    "RSQRT",
    "DELEGATE",
}


def interpreter(artifact: export.Artifact) -> Interpreter:
    """Load a file without delegates, which would hide its operations."""
    return Interpreter(
        model_path=str(artifact.path), experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )


def operations(artifact: export.Artifact) -> Counter:
    return Counter(operation["op_name"] for operation in operations_of(interpreter(artifact)))


@pytest.fixture(params=BOUNDS)
def artifact(request, exported) -> export.Artifact:
    return exported(request.param)


def test_outputs_are_near_keras(detector, images, artifact) -> None:
    quantization = artifact.path.stem
    runner = export.TFLiteModel(artifact.path, num_threads=2)
    assert float_difference(detector, runner.raw, images)["max"] < BOUNDS[quantization]
    assert artifact.difference["max"] < BOUNDS[quantization]


def test_names_types_and_shapes_are_stable(detector, images, artifact) -> None:
    signatures = interpreter(artifact).get_signature_list()
    expected = flatten(detector(images[:1], training=False))
    assert signatures == {"serving_default": {"inputs": ["images"], "outputs": sorted(expected)}}
    runner = interpreter(artifact).get_signature_runner("serving_default")
    details = runner.get_input_details() | runner.get_output_details()
    shapes = {name: tuple(x.shape) for name, x in expected.items()} | {"images": (1, 64, 128, 3)}
    assert {name: tuple(detail["shape"]) for name, detail in details.items()} == shapes
    assert {detail["dtype"] for detail in details.values()} == {np.float32}


def test_the_graph_is_what_delegates_take(artifact) -> None:
    found = operations(artifact)
    assert not FORBIDDEN & set(found)
    assert not any(name.startswith(("Flex", "RELU")) for name in found)  # every activation is fused
    assert "MUL" not in found  # every BN is folded
    tensors = interpreter(artifact).get_tensor_details()
    assert max(len(tensor["shape"]) for tensor in tensors) <= 4


def test_int8_computes_in_integers_between_input_and_outputs(exported) -> None:
    found = operations(exported("int8"))
    assert (found["QUANTIZE"], found["DEQUANTIZE"]) == (1, 10)
    tensors = interpreter(exported("int8")).get_tensor_details()
    floats = [tensor for tensor in tensors if tensor["dtype"] == np.float32]
    assert len(floats) == 11  # the input and the outputs
    kernels = [t for t in tensors if len(t["shape"]) == 4 and len(t["quantization_parameters"]["scales"]) > 1]
    assert len(kernels) > 50  # a scale per channel


def test_weights_shrink(exported) -> None:
    sizes = {quantization: exported(quantization).size for quantization in BOUNDS}
    assert sizes["fp16"] < 0.6 * sizes["none"]
    assert sizes["dynamic"] < 0.4 * sizes["none"]
    assert sizes["int8"] < 0.4 * sizes["none"]


def test_weights_that_levels_share_are_stored_once(exported) -> None:
    """A shared conv has the same integers at each level, because its BN changes only the scales."""
    buffers = [
        bytes(buffer.data) for buffer in parse(exported("int8").path.read_bytes()).buffers if buffer.data is not None
    ]
    values = [data for data in buffers if data]
    assert len(values) == len(set(values)) > 100


def test_predictions_equal_keras_with_the_same_keys(detector, images, exported) -> None:
    expected = detector.predict(images, verbose=0)
    found = export.TFLiteModel(exported("none").path).predict(images)
    assert expected["num_detections"].min() > 0
    assert set(found) == set(expected)
    for name, x in expected.items():
        assert found[name].dtype == x.dtype
        np.testing.assert_allclose(found[name], x, atol=1e-2)


def test_a_batch_equals_its_images_one_at_a_time(images, exported) -> None:
    runner = export.TFLiteModel(exported("none").path)
    together, alone = flatten(runner.raw(images)), flatten(runner.raw(images[1:]))
    for name, x in alone.items():
        np.testing.assert_array_equal(together[name][1:], x)


def test_metadata_is_in_the_file_and_beside_it(detector, exported) -> None:
    artifact = exported("int8")
    runner = export.TFLiteModel(artifact.path)
    assert runner.image_size == (64, 128)
    assert runner.class_names == ["cat", "dog", "größer Vogel"]
    assert runner.metadata.quantization == "int8"
    assert set(runner.metadata.outputs) == set(interpreter(artifact).get_signature_list()["serving_default"]["outputs"])
    beside = artifact.path.with_name("int8.labels.txt").read_text(encoding="utf-8")
    assert beside.splitlines() == runner.class_names
    assert artifact.path.with_name("int8.metadata.json").stat().st_size > 1000


def test_images_of_another_size_are_refused(exported) -> None:
    runner = export.TFLiteModel(exported("none").path)
    for shape in ((1, 128, 64, 3), (64, 128, 3), (0, 64, 128, 3)):
        with pytest.raises(ValueError, match=r"Received: shape="):
            runner.raw(np.zeros(shape, "float32"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"quantization": "int4"}, r"Valid quantizations are \('none', 'fp16', 'dynamic', 'int8', 'int16x8'\)"),
        ({"quantization": "int8"}, "int8 needs calibration="),
        ({"quantization": "int16x8"}, "int16x8 needs calibration="),
        ({"target": "tpu"}, r"Valid targets are \('cpu', 'gpu', 'npu', 'mediapipe'\)"),
        ({"target": "gpu", "outputs": "detections"}, r"outputs for the target gpu are \('raw',\)"),
        ({"inputs": "int8"}, r"Valid inputs for the target cpu are \('float32', 'uint8'\)"),
        ({"quantization": "int16x8", "calibration": [], "inputs": "uint8"}, "int16x8 supports only float32 inputs"),
        ({"path": "model.lite"}, r"must end in \.tflite. Received: path='model\.lite'"),
    ],
)
def test_mistakes_are_told_before_any_work(detector, tmp_path, monkeypatch, arguments, message) -> None:
    monkeypatch.setattr("spinenet_tf.export.litert.tflite_file.raw_function", None)
    with pytest.raises(ValueError, match=message):
        export.tflite(detector, **{"path": tmp_path / "model.tflite"} | arguments)


def test_an_existing_file_is_kept(detector, tmp_path) -> None:
    (tmp_path / "model.tflite").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        export.tflite(detector, tmp_path / "model.tflite")
    assert (tmp_path / "model.tflite").read_bytes() == b"mine"


def test_a_file_that_fails_its_check_does_not_appear(detector, exported, tmp_path, monkeypatch) -> None:
    converted = exported("dynamic").path.read_bytes()
    monkeypatch.setattr(
        "spinenet_tf.export.litert.tflite_file.convert", lambda *_: converted[: converted.index(b"PK\x03\x04")]
    )
    with pytest.raises(export.ExportError, match="quantization='none' differs"):
        export.tflite(detector, tmp_path / "model.tflite")
    assert not list(tmp_path.iterdir())


def test_a_classifier_gives_logits_and_has_labels(classifier, classifier_file, images) -> None:
    runner = export.TFLiteModel(classifier_file)
    logits = runner.predict(images)
    assert logits.shape == (2, 4)
    np.testing.assert_allclose(logits, classifier.predict(images, verbose=0), atol=1e-4)
    assert read_metadata(classifier_file).class_names == ["a", "b", "c", "d"]


def test_a_file_for_mediapipe_takes_pixels_and_ends_in_its_operation(detector, tmp_path) -> None:
    artifact = export.tflite(detector, tmp_path / "model.tflite", target="mediapipe")
    assert artifact.difference["max"] < 1e-5
    found = inspect(artifact.path)
    assert found.inputs == {"images": {"shape": [1, *detector.backbone.image_shape], "dtype": "uint8"}}
    assert found.ops["TFLite_Detection_PostProcess"] == 1
    assert list(found.outputs) == ["boxes", "classes", "scores", "num_detections"]
    assert export.TFLiteModel(artifact.path).metadata.output_kind == "postprocess"


def test_a_bias_that_levels_share_is_right_at_each_of_them_with_16_bits(tiny_backbone, tmp_path) -> None:
    model = RetinaNet(tiny_backbone, 2, RetinaNetOptions(head_depth=1, head_width=8))  # biases of -4.6
    images = np.random.default_rng(0).standard_normal((4, 64, 64, 3), "float32")
    artifact = export.tflite(model, tmp_path / "model.tflite", "int16x8", calibration=[images])
    assert float_difference(model, export.TFLiteModel(artifact.path).raw, images)["max"] < 0.01
