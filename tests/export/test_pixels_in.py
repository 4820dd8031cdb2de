"""The files of a model that takes pixels take pixels, and none normalizes twice."""

from __future__ import annotations

import numpy as np
import pytest

from spinenet_tf import classifier, detector
from spinenet_tf.export import onnx, saved_model, tflite
from spinenet_tf.inference.litert import TFLiteModel
from spinenet_tf.inference.metadata import read_metadata
from spinenet_tf.ops.pixels import OFFSET, SCALE

SHAPE = (64, 64, 3)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (1, *SHAPE), np.uint8)


@pytest.fixture(scope="module")
def pair(three_blocks, randomize) -> tuple:
    """Return a detector of normalized images, and one of pixels with the same weights."""
    options = {"max_level": 5, "endpoint": 8, "head_depth": 1, "head_width": 8, "score_threshold": 0.01}
    plain = randomize(detector(three_blocks, 3, SHAPE, **options))
    for weight in plain.weights:
        if weight.path.endswith("predictor/kernel"):
            weight.assign(0.02 * weight)  # otherwise scores round to 1, and each engine sorts equals in its own way
    model = detector(three_blocks, 3, SHAPE, include_preprocessing=True, **options)
    model.set_weights(plain.get_weights())
    return plain, model


def assert_same(found, expected) -> None:
    assert expected["num_detections"][0] > 3
    for name, value in expected.items():
        np.testing.assert_allclose(np.asarray(found[name]), value, atol=1e-3, err_msg=name)


def test_a_saved_model_serves_pixels(pair, pixels, tmp_path) -> None:
    import tensorflow as tf

    _, model = pair
    expected = model.predict(pixels, verbose=0)
    assert saved_model(model, tmp_path / "pixels", ["a", "b", "c"]).difference["max"] < 1e-4
    metadata = read_metadata(tmp_path / "pixels")
    assert (metadata.input["dtype"], metadata.input["normalization"]) == ("uint8", "none, the file normalizes")
    served = tf.saved_model.load(str(tmp_path / "pixels")).signatures
    for name in ("serve", "serving_default", "serve_image"):
        assert_same(served[name](images=tf.constant(pixels)), expected)
    png = tf.io.encode_png(pixels[0])[None]
    assert_same(served["serve_bytes"](images=png), expected)
    with pytest.raises((tf.errors.InvalidArgumentError, TypeError)):
        served["serve"](images=tf.constant(pixels, tf.float32))
    with pytest.raises(tf.errors.InvalidArgumentError):
        served["serve"](images=tf.zeros((1, 8, 64, 3), tf.uint8))


def test_a_saved_model_without_nms_takes_pixels(pair, pixels, tmp_path) -> None:
    import tensorflow as tf

    for each in pair:
        saved_model(each, tmp_path / str(each.include_preprocessing), nms=False)
    normalized = pixels * SCALE + OFFSET
    found, expected = (
        tf.saved_model.load(str(tmp_path / name)).signatures["decoded"](images=tf.constant(images))
        for name, images in (("True", pixels), ("False", normalized))
    )
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-5)


def test_tflite_files_take_pixels_unless_told_otherwise(pair, pixels, tmp_path) -> None:
    _, model = pair
    expected = model.predict(pixels, verbose=0)
    normalized = pixels * SCALE + OFFSET
    for inputs, dtype in ((None, "uint8"), ("uint8", "uint8"), ("float32", "float32")):
        tflite(model, path := tmp_path / f"{inputs}.tflite", inputs=inputs, outputs="detections")
        assert read_metadata(path).input["dtype"] == dtype
        assert_same(TFLiteModel(path).predict(normalized), expected)
    with pytest.raises(ValueError, match="inputs='uint8'"):
        tflite(model, tmp_path / "gpu.tflite", target="gpu")


def test_int8_files_are_the_same_as_of_the_other_form(pair, pixels, tmp_path) -> None:
    calibration = [np.asarray(pixels * SCALE + OFFSET, np.float32)]
    for each in pair:
        path = tmp_path / f"{each.include_preprocessing}.tflite"
        tflite(each, path, "int8", calibration, inputs="uint8", keep_float=["box_predictor"])
    plain, model = (TFLiteModel(tmp_path / f"{form}.tflite").raw(calibration[0]) for form in (False, True))
    np.testing.assert_array_equal(model["class_logits"]["P3"], plain["class_logits"]["P3"])


def test_an_onnx_file_takes_pixels(pair, pixels, tmp_path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("tf2onnx")
    _, model = pair
    assert onnx(model, tmp_path / "pixels.onnx").difference["max"] < 1e-4
    session = onnxruntime.InferenceSession(str(tmp_path / "pixels.onnx"), providers=["CPUExecutionProvider"])
    (found,) = session.run(["class_logits_P3"], {"images": pixels})
    expected = model(pixels.astype("float32"))["class_logits"]["P3"]
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_a_classifier_of_pixels_is_exported(three_blocks, pixels, randomize, tmp_path) -> None:
    import tensorflow as tf

    options = {"max_level": 5, "endpoint": 8}
    model = randomize(classifier(three_blocks, 3, SHAPE, include_preprocessing=True, **options))
    saved_model(model, tmp_path / "saved")
    (found,) = tf.saved_model.load(str(tmp_path / "saved")).signatures["serve"](images=tf.constant(pixels)).values()
    np.testing.assert_allclose(found, model.predict(pixels, verbose=0), atol=1e-4)
