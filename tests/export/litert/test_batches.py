"""A file for a batch returns for each of its images what a file for one image returns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from compiled_model import assert_compiled_gives_the_same

import spinenet_tf
from spinenet_tf import export
from spinenet_tf.export.litert.conversion import convert
from spinenet_tf.export.litert.tflite_file import QUANTIZATIONS, _write_outputs
from spinenet_tf.export.signatures import raw_function
from spinenet_tf.inference.inspection import inspect
from spinenet_tf.inference.interpreter import open_interpreter
from spinenet_tf.inference.metadata import read_metadata
from spinenet_tf.inference.naming import flatten

SHAPE = (64, 64, 3)
COUNTS = (1, 2, 5)  # images: fewer than a batch, a batch, and batches of which the last is not full


@pytest.fixture(scope="module")
def model(tiny_mobile_spec, randomize) -> keras.Model:
    """Return a detector with squeeze-and-excitation, whose gates are those of each image."""
    options = {"max_level": 5, "endpoint": 8, "activation": "relu6", "head_depth": 1, "head_width": 8}
    limits = {"score_threshold": 0.001, "max_detections": 20}
    detector = randomize(spinenet_tf.detector(tiny_mobile_spec, 3, SHAPE, "retinanet", **options, **limits))
    predictor = detector.get_layer("class_predictor")
    predictor.set_weights([0.05 * weight for weight in predictor.get_weights()])  # not all scores are 1
    return detector


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((5, *SHAPE), "float32")


@pytest.fixture(scope="module")
def pairs(model, pictures, tmp_path_factory) -> Callable[[str], Path]:
    """Return `pairs(quantization)`: the path of a file for two images, exported once."""
    folder = tmp_path_factory.mktemp("pairs")

    def get(quantization: str) -> Path:
        path = folder / f"{quantization}.tflite"
        if not path.exists():
            export.tflite(model, path, quantization, calibration=[pictures], batch_size=2)
        return path

    return get


@pytest.fixture(scope="module")
def single(model, pictures, tmp_path_factory) -> Callable[[str], dict[str, np.ndarray]]:
    """Return `single(quantization)`: the outputs of a file for one image for each picture."""
    path, functions = tmp_path_factory.mktemp("single") / "model.tflite", {}

    def run(quantization: str) -> dict[str, np.ndarray]:
        upsampling = "gather" if quantization == "int16x8" else "concat"
        if upsampling not in functions:
            functions[upsampling] = raw_function(model, 1, upsampling=upsampling)
        path.write_bytes(convert(functions[upsampling], quantization, [pictures], xnnpack=True))
        signature = open_interpreter(path).get_signature_runner()
        found = [signature(images=picture[None]) for picture in pictures]
        return {name: np.concatenate([outputs[name] for outputs in found]) for name in found[0]}

    return run


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_each_image_has_the_outputs_that_it_has_alone(pairs, single, pictures, quantization) -> None:
    """On other processors, the calibration's ranges may differ in their last bit, and so a few rounded values."""
    expected, file = single(quantization), export.TFLiteModel(pairs(quantization))
    assert file.batch_size == 2
    for count in COUNTS:
        found = flatten(file.raw(pictures[:count]))
        for name, x in expected.items():
            assert np.abs(found[name] - x[:count]).mean() <= 1e-4 * np.abs(x).max()


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_compiled_models_give_the_same(pairs, quantization) -> None:
    assert_compiled_gives_the_same(pairs(quantization))


@pytest.mark.parametrize("quantization", ["none", "fp16", "dynamic", "int8"])
def test_a_batch_is_one_partition(pairs, quantization) -> None:
    found = inspect(pairs(quantization))
    assert (found.xnnpack_partitions, found.xnnpack_leaves, found.max_rank) == (1, {}, 4)


@pytest.mark.parametrize("kind", ["decoded", "detections"])
def test_each_image_has_its_own_detections(model, pairs, pictures, tmp_path, kind) -> None:
    content, metadata = pairs("none").read_bytes(), read_metadata(pairs("none"))
    specs = {name: tf.TensorSpec(x["shape"], name=name) for name, x in metadata.outputs.items()}
    _write_outputs(tmp_path / "model.tflite", kind, content[: content.index(b"PK\x03\x04")], metadata, specs)
    assert_compiled_gives_the_same(tmp_path / "model.tflite")
    file, expected = export.TFLiteModel(tmp_path / "model.tflite"), model.predict(pictures, verbose=0)
    assert len(np.unique(expected["scores"][:, 0])) == len(pictures)
    for count in COUNTS:
        found = file.predict(pictures[:count])
        for name, x in expected.items():
            np.testing.assert_allclose(found[name], x[:count], atol=1e-3)


def test_its_metadata_and_its_interpreter_have_the_same_shapes(pairs) -> None:
    metadata, found = read_metadata(pairs("int8")), inspect(pairs("int8"))
    assert metadata.input["shape"] == found.inputs["images"]["shape"] == [2, *SHAPE]
    assert {name: x["shape"] for name, x in metadata.outputs.items()} == {
        name: x["shape"] for name, x in found.outputs.items()
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": None}, r"takes a fixed number of images per call\. Received: batch_size=None"),
        ({"batch_size": 0}, r"batch_size must be at least 1, or None for any\. Received: batch_size=0"),
        ({"batch_size": 2, "outputs": "postprocess"}, r"postprocess take one image per call\. Received: batch_size=2"),
        ({"batch_size": 2, "target": "mediapipe"}, r"postprocess take one image per call\. Received: batch_size=2"),
    ],
)
def test_other_batches_are_refused(model, tmp_path, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        export.tflite(model, tmp_path / "model.tflite", **options)
    assert not list(tmp_path.iterdir())
