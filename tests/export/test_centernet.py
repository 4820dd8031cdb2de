"""CenterNet exports like any detector, without code for it in `export`."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf
from compiled_model import VULKAN, assert_compiled_gives_the_same, interpreted, noise, on_gpu

import spinenet_tf
from spinenet_tf import export
from spinenet_tf.export import webpage
from spinenet_tf.export.litert.sensitivity import find_sensitive
from spinenet_tf.export.litert.targets import TARGETS, check_graph
from spinenet_tf.heads.centernet import CenterNet
from spinenet_tf.inference.coverage import Coverage
from spinenet_tf.inference.inspection import inspect
from spinenet_tf.inference.litert import TFLiteModel

SHAPE = (64, 128, 3)  # not square: a swap of the sides shows
CELLS = 16 * 32  # at stride 4
RAW = {"heatmap_P2": [1, 16, 32, 3], "sizes_P2": [1, 16, 32, 2], "offsets_P2": [1, 16, 32, 2]}
# As measured, with room: the largest difference to Keras, relative to the largest output.
BOUNDS = {"none": 1e-4, "fp16": 5e-3, "dynamic": 0.1, "int8": 0.1, "int16x8": 0.1}


@pytest.fixture(scope="module")
def centernet(tiny_mobile_spec, stirred) -> CenterNet:
    # The fixture that seeds each test comes later, and one draw in eight has four channels that are always 0.
    keras.utils.set_random_seed(0)
    small = {"max_level": 5, "endpoint": 8, "head_width": 16, "activation": "relu6", "se_ratio": 0}
    options = {"score_threshold": 0.2, "max_detections": 20}
    return stirred(spinenet_tf.detector(tiny_mobile_spec, 3, SHAPE, "centernet", **small, **options))


@pytest.fixture(scope="module")
def write(centernet, images, tmp_path_factory) -> Callable:
    """Return `write(quantization="none", **options)`, which returns the artifact, written once."""
    folder, artifacts = tmp_path_factory.mktemp("files"), {}

    def get(quantization: str = "none", **options: str) -> export.Artifact:
        key = "-".join([quantization, *options.values()])
        if key not in artifacts:
            artifacts[key] = export.tflite(centernet, folder / f"{key}.tflite", quantization, [images], **options)
        return artifacts[key]

    return get


def beside(mask: np.ndarray) -> int:
    """Count the pairs of adjacent true cells of `mask [H, W, C]`."""
    rows, columns = mask.shape[:2]
    shifts = ((0, 1), (1, 0), (1, 1), (1, -1))
    pairs = 0
    for down, right in shifts:
        moved = mask[down:, max(right, 0) : columns + min(right, 0)]
        pairs += int((moved & mask[: rows - down, max(-right, 0) : columns - max(right, 0)]).sum())
    return pairs


def assert_same(found, expected) -> None:
    assert (np.asarray(expected["num_detections"]) > 3).all()
    for name, value in expected.items():
        np.testing.assert_allclose(np.asarray(found[name]), value, atol=1e-2 if name == "boxes" else 1e-4)


@pytest.mark.parametrize("quantization", BOUNDS)
def test_every_quantization_is_near_keras(write, quantization) -> None:
    artifact = write(quantization)
    assert artifact.difference["max"] < BOUNDS[quantization]
    assert {name: output["shape"] for name, output in inspect(artifact.path).outputs.items()} == RAW


@pytest.mark.parametrize("quantization", BOUNDS)
def test_compiled_models_give_the_same(write, quantization) -> None:
    assert_compiled_gives_the_same(write(quantization).path)


@pytest.mark.parametrize(
    ("quantization", "outputs"), [("none", "detections"), ("int8", "decoded"), ("int8", "detections")]
)
def test_compiled_models_decode_the_same(write, quantization, outputs) -> None:
    assert_compiled_gives_the_same(write(quantization, outputs=outputs).path)


@pytest.mark.parametrize("quantization", ["none", "int8"])
def test_cpus_run_the_raw_outputs_in_one_part(write, quantization) -> None:
    found = inspect(write(quantization).path)
    assert (found.xnnpack_partitions, found.xnnpack_leaves) == (1, {})


@pytest.mark.parametrize(("target", "quantization"), [("gpu", "fp16"), ("npu", "int8")])
def test_accelerators_run_all_of_it(write, target, quantization) -> None:
    found = inspect(write(quantization, target=target).path)
    assert found.engines[target.upper()] == Coverage(1.0, 1.0, {})
    assert {name: output["shape"] for name, output in found.outputs.items()} == RAW


@pytest.mark.skipif(not VULKAN.is_file(), reason="there is no Vulkan driver of Chromium")
@pytest.mark.parametrize(("target", "quantization", "error"), [("gpu", "fp16", 1e-5), ("npu", "int8", 0.05)])
def test_a_gpu_computes_the_same(write, target, quantization, error, tmp_path) -> None:
    path = write(quantization, target=target).path
    expected, found = interpreted(path, noise(path)), on_gpu(path, noise(path), tmp_path)
    for name, x in expected.items():
        np.testing.assert_allclose(found[name], x, atol=error * np.abs(x).max())


@pytest.mark.skipif(not VULKAN.is_file(), reason="there is no Vulkan driver of Chromium")
def test_no_gpu_has_16_bit_activations(write, tmp_path) -> None:
    path = write("int16x8").path
    with pytest.raises(RuntimeError, match=r"DEPTHWISE_CONV_2D: Tensor type\(INT16\) is not supported"):
        on_gpu(path, noise(path), tmp_path)
    with pytest.raises(export.ExportError, match=r"'DEPTHWISE_CONV_2D'.* or the types or ranks of their tensors"):
        check_graph(path, TARGETS["gpu"], "raw")


def test_detections_are_those_of_keras_by_builtin_operations_without_nms(write, centernet, images) -> None:
    path = write(outputs="detections").path
    assert_same(TFLiteModel(path).predict(images), centernet.predict_on_batch(images))
    ops = set(inspect(path).ops)
    assert {"MAX_POOL_2D", "TOPK_V2"} <= ops
    assert not [name for name in ops if "NON_MAX" in name or name.startswith(("Flex", "CUSTOM", "TFLite"))]


@pytest.mark.parametrize("outputs", ["raw", "decoded"])
def test_readers_find_the_same_in_other_outputs(write, centernet, images, outputs) -> None:
    path = write(outputs=outputs).path
    assert_same(TFLiteModel(path).predict(images), centernet.predict_on_batch(images))
    if outputs == "decoded":
        shapes = {name: output["shape"] for name, output in inspect(path).outputs.items()}
        assert shapes == {"boxes": [1, CELLS, 4], "scores": [1, CELLS, 3]}


def test_a_plateau_of_8_bits_is_found_once(write, centernet, images) -> None:
    """Compare the file's outputs with the published rule, which keeps all cells of a plateau."""
    heatmap = TFLiteModel(write("int8").path).raw(images[:1])["heatmap"]["P2"]
    published = heatmap == np.asarray(keras.ops.max_pool(heatmap, 3, 1, "same", data_format="channels_last"))
    decoded = TFLiteModel(write("int8", outputs="decoded").path)._run(images[:1])
    kept = decoded["scores"].reshape(published.shape) > 0
    assert beside(published[0]) > 0
    assert beside(kept[0]) == 0
    assert (published | ~kept).all()
    for quantized in (write("int8").path, write("int8", outputs="detections").path):
        found = TFLiteModel(quantized).predict(images[:1])
        best = np.sort(decoded["scores"].ravel())[::-1][: int(found["num_detections"][0])]
        np.testing.assert_allclose(found["scores"][0][: len(best)], best, atol=1e-5)


def test_a_file_has_the_outputs_of_the_custom_operation_of_anchors_without_it(write, images) -> None:
    path, published = write(outputs="postprocess").path, write(outputs="detections").path
    assert "TFLite_Detection_PostProcess" not in inspect(path).ops
    outputs, found = TFLiteModel(path)._run(images[:1]), TFLiteModel(published).predict(images[:1])
    assert list(inspect(path).outputs) == ["boxes", "classes", "scores", "num_detections"]
    assert {output.dtype for output in outputs.values()} == {np.dtype("float32")}
    assert 0.0 <= outputs["boxes"].min() <= outputs["boxes"].max() <= 1.0
    for name, x in TFLiteModel(path).predict(images[:1]).items():
        np.testing.assert_allclose(x, found[name], atol=1e-4)


def test_a_saved_model_detects_from_tensors_and_from_images(centernet, images, tmp_path) -> None:
    assert export.saved_model(centernet, tmp_path / "saved", batch_size=2).difference["max"] < 1e-4
    signatures = tf.saved_model.load(str(tmp_path / "saved")).signatures
    assert_same(signatures["serve"](images=tf.constant(images)), centernet.predict_on_batch(images))
    assert {name: list(x.shape[1:]) for name, x in signatures["raw"].structured_outputs.items()} == {
        name: shape[1:] for name, shape in RAW.items()
    }
    photos = np.random.default_rng(0).integers(0, 256, (2, 100, 90, 3), dtype=np.uint8)
    boxes = signatures["serve_image"](images=tf.constant(photos))["boxes"].numpy()
    assert (boxes <= [100, 90, 100, 90]).all()


def test_an_onnx_file_has_the_maps(centernet, tmp_path) -> None:
    pytest.importorskip("tf2onnx")
    session = pytest.importorskip("onnxruntime")
    assert export.onnx(centernet, tmp_path / "a.onnx", batch_size=None).difference["max"] < 1e-4
    outputs = session.InferenceSession(str(tmp_path / "a.onnx")).get_outputs()
    assert {output.name: output.shape[1:] for output in outputs} == {name: shape[1:] for name, shape in RAW.items()}


def test_a_page_detects_by_its_file(centernet, images, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(webpage, "_vendor", lambda folder: None)  # npm fetches what no head changes
    export.web(centernet, tmp_path / "page")
    assert_same(TFLiteModel(tmp_path / "page" / webpage.MODEL).predict(images), centernet.predict_on_batch(images))


def test_parts_that_stay_in_float_are_found_and_kept(centernet, images, tmp_path) -> None:
    parts = {part.pattern for part in find_sensitive(centernet, [images], images).parts}
    assert {"heatmap_*", "sizes_*", "offsets_*"} <= parts
    path = tmp_path / "kept.tflite"
    export.tflite(centernet, path, "int8", [images], keep_float=["heatmap_*"])
    assert TFLiteModel(path).metadata.float_layers == ["heatmap_conv", "heatmap_act", "heatmap_predictor"]
