from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import pytest
from keras import ops

from spinenet_tf import ArchitectureSpec, BlockSpec, detector, export
from spinenet_tf.heads.detector import DetectionModel
from spinenet_tf.training.quantization import MIN_RANGE, QuantizationAware, Rounded, RoundedConv, round_kernel

SIDE = 64
pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tests/backends has the others")


def batch(count: int = 4) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    images = np.random.default_rng(1).standard_normal((count, SIDE, SIDE, 3), "float32")
    boxes = np.tile(np.array([[8, 8, 40, 40]], "float32"), (count, 1, 1))
    return images, {"boxes": boxes, "classes": np.ones((count, 1), "int32")}


def with_ranges(model: keras.Model) -> QuantizationAware:
    """Return the quantization-aware model with the ranges of one batch, from a step with learning rate 0."""
    aware = QuantizationAware(model)
    aware.compile(keras.optimizers.SGD(0.0), run_eagerly=True)  # a trace would take longer
    aware.fit(*batch(), batch_size=4, verbose=0)
    return aware


def joined(raw) -> np.ndarray:
    return np.concatenate([np.ravel(raw[output][level]) for output in sorted(raw) for level in sorted(raw[output])])


def mobile_graph(*blocks: BlockSpec) -> ArchitectureSpec:
    parts = {"stem_conv": "mobile", "stem_block": "mbconv", "resampling": "depthwise"}
    return ArchitectureSpec("tiny_mobile", (1, 2), blocks, {0: 8, 1: 8, 2: 8, 3: 8, 4: 16}, **parts)


GRAPHS = {
    "mbconv": mobile_graph(
        BlockSpec(3, "mbconv", (0, 1)),
        BlockSpec(4, "mbconv", (1, 2)),
        BlockSpec(3, "mbconv", (2, 3), is_output=True),
        BlockSpec(4, "mbconv", (3, 4), is_output=True),
    ),
    "fused": mobile_graph(
        BlockSpec(3, "fused_mbconv", (0, 1)),
        BlockSpec(4, "mbconv", (1, 2)),
        BlockSpec(3, "fused_mbconv", (2, 3), is_output=True),
        BlockSpec(4, "mbconv", (3, 4), is_output=True),
    ),
    "one parent": mobile_graph(
        BlockSpec(4, "mbconv", (1,), is_output=True),
        BlockSpec(3, "mbconv", (2,), is_output=True),
    ),
}


@pytest.fixture(scope="module")
def small(randomize) -> Callable[..., DetectionModel]:
    """Return `small(head, graph="mbconv")`: a small detector with squeeze-and-excitation and ReLU6; read only."""
    options = {"max_level": 4, "endpoint": 16, "head_width": 16, "activation": "relu6", "se_ratio": 0.2}

    def build(head: str, graph: str = "mbconv", **others) -> DetectionModel:
        return randomize(detector(GRAPHS[graph], 2, (SIDE, SIDE, 3), head, **options, **others))

    return build


@pytest.fixture(scope="module")
def mobile(small):
    return small("retinanet", head_depth=1)


@pytest.fixture(scope="module")
def aware(mobile):
    return with_ranges(mobile)


@pytest.fixture(scope="module")
def transposed(randomize):
    """A small detector with a transposed conv; read only."""
    spec = ArchitectureSpec("up", (2, 3), (), {2: 8, 3: 16}, stem_block="residual", fusion="deconv")
    return randomize(detector(spec, 2, (SIDE, SIDE, 3), "centernet", endpoint=16, head_width=16))


def test_every_kernel_is_rounded(transposed):
    """A conv whose kernel is not rounded would be called as a layer."""
    aware = QuantizationAware(transposed)
    nets = [aware, *(layer for layer in aware.layers if isinstance(layer, keras.Model))]
    rounded = {layer.conv.name for net in nets for layer in net.layers if isinstance(layer, RoundedConv)}
    parts = (transposed, transposed.backbone)
    assert rounded == {layer.name for net in parts for layer in net.layers if hasattr(layer, "kernel")}


@pytest.mark.parametrize(("axis", "others"), [(3, (0, 1, 2)), (2, (0, 1, 3))])
def test_a_kernel_has_255_steps_per_channel_about_0(axis, others):
    kernel = np.random.default_rng(0).normal(size=(3, 3, 4, 5)).astype("float32")
    step = np.abs(kernel).max(axis=others, keepdims=True) / 127
    np.testing.assert_allclose(round_kernel(kernel, axis), np.round(kernel / step) * step, atol=1e-6)


def test_bn_behind_a_conv_leaves_the_integers_of_its_kernel_as_they_are():
    random = np.random.default_rng(0)
    kernel, scale = random.normal(size=(3, 3, 4, 5)).astype("float32"), random.normal(size=5).astype("float32")
    np.testing.assert_allclose(round_kernel(kernel * scale, 3), np.array(round_kernel(kernel, 3)) * scale, atol=1e-5)


def test_a_channel_of_zeros_stays_zero():
    assert not np.array(round_kernel(np.zeros((1, 1, 2, 3), "float32"), 3)).any()


def test_gradients_pass_through_the_rounding():
    import tensorflow as tf

    kernel = keras.Variable(np.random.default_rng(0).normal(size=(1, 1, 4, 3)).astype("float32"))
    with tf.GradientTape() as tape:
        total = ops.sum(round_kernel(kernel, 3))
    np.testing.assert_array_equal(tape.gradient(total, kernel.value), np.ones((1, 1, 4, 3)))


def test_a_range_begins_as_that_of_the_first_batch_follows_the_next_and_holds_zero():
    layer = Rounded()
    first, second = np.array([[1.0, 5.1]], "float32"), np.array([[-2.0, 0.0]], "float32")
    np.testing.assert_allclose(layer(first, training=True), first, atol=0.5 * 5.1 / 255)
    assert (float(layer.low), float(layer.high)) == pytest.approx((0.0, 5.1))
    layer(second, training=True)
    assert (float(layer.low), float(layer.high)) == pytest.approx((-0.02, 0.99 * 5.1))
    layer(second)
    assert float(layer.low) == pytest.approx(-0.02), "only training moves it"


@pytest.mark.parametrize("values", [[-3.0, -2.0], [2.0, 3.0]])
def test_what_is_of_one_sign_keeps_its_values(values):
    """An 8-bit scale has a step at 0: with a range that excluded 0, all values were rounded to its ends."""
    x = np.array([values], "float32")
    np.testing.assert_allclose(Rounded()(x, training=True), x, atol=3 / 255)


def test_what_is_always_zero_has_a_range():
    layer = Rounded()
    assert not np.array(layer(np.zeros((1, 3), "float32"), training=True)).any()
    assert float(layer.high) == pytest.approx(MIN_RANGE)


def test_it_trains_the_weights_of_the_detector_and_not_its_statistics(mobile, randomize):
    model = randomize(mobile.from_config(mobile.get_config()))
    aware = QuantizationAware(model)
    before = {weight.path: np.array(weight.value) for weight in model.weights}
    aware.compile(keras.optimizers.SGD(0.1, global_clipnorm=1.0), run_eagerly=True)
    aware.fit(*batch(), verbose=0)
    moved = {weight.path for weight in model.weights if (np.array(weight.value) != before[weight.path]).any()}
    assert any(path.endswith("kernel") for path in moved)
    assert not any("moving" in path for path in moved)
    assert aware.detector is model
    assert len(aware.trainable_weights) == len(model.trainable_weights)


def test_its_weights_files_are_those_of_the_detector(mobile, aware, tmp_path):
    aware.save_weights(tmp_path / "aware.weights.h5")
    fresh = mobile.from_config(mobile.get_config())
    fresh.load_weights(tmp_path / "aware.weights.h5")
    for ours, theirs in zip(fresh.weights, mobile.weights, strict=True):
        np.testing.assert_array_equal(ours.value, theirs.value)


def test_every_tensor_between_operations_is_rounded(aware):
    """The input, each conv or sum without an activation, each activation and the outputs have at most 256 values."""
    images, _ = batch(1)
    backbone = next(layer for layer in aware.layers if isinstance(layer, keras.Model))
    for net in (backbone, aware):
        layers = [layer for layer in net.layers if isinstance(layer, Rounded)]
        assert len(layers) >= 10
        outputs = keras.Model(net.input, [layer.output for layer in layers])(images)
        assert all(len(np.unique(x)) <= 256 for x in outputs)


def test_an_only_parent_is_rounded_once_after_its_activation(small):
    """As in the int8 file, where the activation is fused into the conv and the upsampling keeps the scale."""
    aware = QuantizationAware(small("retinanet", "one parent"))
    backbone = next(layer for layer in aware.layers if isinstance(layer, keras.Model))
    rounded = {layer.name for layer in backbone.layers if isinstance(layer, Rounded)}
    assert "block3_fuse_act_int8" in rounded
    assert not {name for name in rounded if name.startswith("block3_resample0")}


@pytest.mark.parametrize(
    ("head", "graph"),
    [("retinanet", "mbconv"), ("centernet", "mbconv"), ("retinanet", "fused"), ("centernet", "transposed")],
)
def test_it_errs_as_the_int8_file_does(small, transposed, head, graph, tmp_path):
    """The errors have the same size and correlate; they are not equal, since rounding errors grow over 100 layers."""
    images, _ = batch()
    model = transposed if graph == "transposed" else small(head, graph)
    export.tflite(model, tmp_path / "a.tflite", "int8", calibration=[images])
    exact = joined(model(images))
    expected = joined(export.TFLiteModel(tmp_path / "a.tflite").raw(images)) - exact
    actual = joined(with_ranges(model)(images)) - exact
    assert actual.std() == pytest.approx(expected.std(), rel=0.3)
    assert np.corrcoef(actual, expected)[0, 1] > 0.4
