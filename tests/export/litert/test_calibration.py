"""Integer quantization of a net with known results."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from spinenet_tf import backbone
from spinenet_tf.data.images import normalize, to_pixels
from spinenet_tf.export.litert.calibration import CALIBRATED, MIN_RANGE, ROOM, quantize
from spinenet_tf.export.litert.conversion import convert
from spinenet_tf.export.savedmodel import write_signatures
from spinenet_tf.export.signatures import raw_function
from spinenet_tf.inference.naming import DEFAULT, flatten

SHAPE = (1, 8, 8, 3)


@pytest.fixture
def converter(tmp_path):
    """Return a function from a bias to a converter of conv + bias, ReLU, conv + 3; a low bias makes the ReLU 0."""
    random = np.random.default_rng(0)
    first, second = (tf.constant(random.normal(size=(3, 3, 3, 3)), tf.float32) for _ in range(2))

    def load(bias: float) -> tf.lite.TFLiteConverter:
        @tf.function(input_signature=[tf.TensorSpec(SHAPE, name="images")])
        def net(images):
            x = tf.nn.relu(tf.nn.conv2d(images, first, 1, "SAME") + bias)
            return {"out": tf.nn.conv2d(x, second, 1, "SAME") + 3.0}

        write_signatures(tmp_path / "net", {DEFAULT: net})
        return tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "net"), signature_keys=[DEFAULT])

    return load


def images(count: int = 4) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((count, *SHAPE[1:]), "float32")


def interpreter(model: bytes, **options) -> Interpreter:
    without = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    loaded = Interpreter(model_content=model, experimental_op_resolver_type=without, **options)
    loaded.allocate_tensors()
    return loaded


def run(model: bytes) -> np.ndarray:
    loaded = interpreter(model)
    loaded.set_tensor(loaded.get_input_details()[0]["index"], images(1))
    loaded.invoke()
    return loaded.get_tensor(loaded.get_output_details()[0]["index"])


@pytest.mark.parametrize("quantization", CALIBRATED)
def test_batches_of_any_size_are_read_once(converter, quantization) -> None:
    model = quantize(converter(bias=0.0), quantization, iter([images(3), images(1)]), SHAPE)
    dtypes = {detail["dtype"] for detail in interpreter(model).get_tensor_details()}
    assert (np.int8 if quantization == "int8" else np.int16) in dtypes
    assert run(model).dtype == np.float32


def test_integers_are_near_float(converter) -> None:
    expected = run(converter(bias=0.0).convert())
    actual = run(quantize(converter(bias=0.0), "int8", [images()], SHAPE))
    assert np.abs(actual - expected).max() < 0.03 * np.abs(expected).max()


def test_pixels_go_in_as_they_are(converter) -> None:
    model = quantize(converter(bias=0.0), "int8", [images()], SHAPE, pixels=True)
    (detail,) = interpreter(model).get_input_details()
    assert detail["dtype"] == np.uint8
    assert detail["quantization"] == (1.0, 0)


def test_pixels_are_the_nearest_of_a_normalized_image() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 4, 3))
    np.testing.assert_array_equal(to_pixels(np.asarray(normalize(pixels))), pixels)
    assert to_pixels(np.full((1, 1, 3), 9.0)).max() == 255


@pytest.mark.parametrize(("quantization", "smallest"), [("int8", MIN_RANGE / 255), ("int16x8", ROOM / 32767)])
def test_a_dead_activation_keeps_a_scale_that_engines_accept(converter, quantization, smallest) -> None:
    model = quantize(converter(bias=-100.0), quantization, [images()], SHAPE)
    kind = np.int8 if quantization == "int8" else np.int16
    details = [detail for detail in interpreter(model).get_tensor_details() if detail["dtype"] == kind]
    scales = np.concatenate([detail["quantization_parameters"]["scales"] for detail in details])
    assert scales.min() == pytest.approx(smallest, rel=1e-3)
    np.testing.assert_allclose(run(model), 3.0, atol=0.05)


@pytest.fixture
def dormant(tiny_mobile_spec, randomize) -> tuple[keras.Model, np.ndarray]:
    """Return a net and images on which all of its squeeze-and-excitation is 0."""
    model = randomize(backbone(tiny_mobile_spec, (64, 64, 3), max_level=5, endpoint=8, activation="relu6"))
    seen = np.random.default_rng(1).standard_normal((2, 64, 64, 3), "float32")
    for layer in squeezed(model):
        layer.bias.assign(layer.bias - np.max(outputs_of(model, layer, seen), axis=(0, 1, 2)) - 0.01)
    return model, seen


def squeezed(model: keras.Model) -> list[keras.layers.Layer]:
    return [layer for layer in model.layers if layer.name.endswith("_se_squeeze")]


def outputs_of(model: keras.Model, layer: keras.layers.Layer, images: np.ndarray) -> np.ndarray:
    return np.asarray(keras.Model(model.input, layer.output)(images))


def test_with_16_bits_other_images_may_activate_what_is_0_on_all_calibration_images(dormant) -> None:
    model, seen = dormant
    content = convert(raw_function(model, 1), "int16x8", [seen])
    signature = Interpreter(model_content=content).get_signature_runner()
    for image, fewest in ((seen[:1], 0), (1.5 * seen[:1], 2), (seen[:1] + 1, 2)):
        assert sum((outputs_of(model, layer, image) > 0.1).any() for layer in squeezed(model)) >= fewest
        expected, found = flatten(model(image, training=False)), signature(images=image)
        largest = max(np.abs(x).max() for x in expected.values())
        for name, x in expected.items():
            np.testing.assert_allclose(found[name], x, atol=0.1 * largest)


@pytest.mark.parametrize("quantization", CALIBRATED)
@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([], "needs images"),
        ([np.zeros((1, 8, 4, 3))], r"Received: shape=\(1, 8, 4, 3\)"),
        ([np.zeros(SHAPE[1:])], r"Received: shape=\(8, 8, 3\)"),
    ],
)
def test_images_that_do_not_fit_are_refused(converter, quantization, batches, message) -> None:
    with pytest.raises(ValueError, match=message):
        quantize(converter(bias=0.0), quantization, batches, SHAPE)
