"""Heads on a pyramid: which layers the levels share, and the initial weights."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from spinenet_tf.heads.classifier import classification_head
from spinenet_tf.heads.retinanet import PRIOR, RetinaNetOptions, retinanet_head
from spinenet_tf.nets.style import Style

CLASSES, ANCHORS, DEPTH, WIDTH = 3, 2, 2, 8
OPTIONS = RetinaNetOptions(head_depth=DEPTH, head_width=WIDTH, num_scales=1, aspect_ratios=(1.0,) * ANCHORS)


def _pyramid(channels: int = 4) -> dict:
    return {f"P{level}": keras.Input((2 ** (6 - level), 2 ** (6 - level), channels)) for level in (3, 4, 5)}


def _maps(seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(2, side, side, 4)).astype("float32") for side in (8, 4, 2)]


def _retinanet(separable: bool = False, l2: float = 0.0) -> keras.Model:
    pyramid = _pyramid()
    outputs = retinanet_head(pyramid, CLASSES, OPTIONS, separable, Style(l2=l2))
    return keras.Model(list(pyramid.values()), outputs)


def _penalized(model) -> set[str]:
    return {layer.name for layer in model.layers if layer.losses}


@pytest.mark.parametrize("separable", [False, True])
def test_each_level_has_logits_for_every_anchor_and_class(separable):
    raw = _retinanet(separable)(_maps())
    for output, values in (("class_logits", CLASSES), ("box_deltas", 4)):
        shapes = {level: tuple(x.shape) for level, x in raw[output].items()}
        assert shapes == {
            f"P{level}": (2, side, side, ANCHORS * values) for level, side in zip((3, 4, 5), (8, 4, 2), strict=True)
        }


@pytest.mark.parametrize("separable", [False, True])
def test_levels_share_convs_and_have_norms_of_their_own(separable):
    names = [layer.name for layer in _retinanet(separable).layers]
    kind = keras.layers.SeparableConv2D if separable else keras.layers.Conv2D
    convs = [layer.name for layer in _retinanet(separable).layers if isinstance(layer, kind)]
    assert sorted(convs) == sorted(
        f"{name}_{part}" for name in ("class", "box") for part in ("conv0", "conv1", "predictor")
    )
    norms = {name for name in names if name.endswith("_bn")}
    assert norms == {
        f"{name}_conv{index}_P{level}_bn" for name in ("class", "box") for index in range(DEPTH) for level in (3, 4, 5)
    }


@pytest.mark.parametrize("separable", [False, True])
def test_training_starts_at_the_prior_and_with_the_anchors_themselves(separable):
    raw = _retinanet(separable)(_maps())
    logits = np.array(raw["class_logits"]["P3"])
    deltas = np.array(raw["box_deltas"]["P3"])
    spread = 0.5 if separable else 1e-3
    np.testing.assert_allclose(logits, np.log(PRIOR / (1 - PRIOR)), atol=spread)
    np.testing.assert_allclose(deltas, 0.0, atol=spread)


def test_initialization_is_the_published_one():
    def deviation(model, layer, weight):
        return float(np.std(np.array(getattr(model.get_layer(layer), weight).value)))

    plain, separable = _retinanet(), _retinanet(separable=True)
    assert deviation(plain, "class_conv1", "kernel") == pytest.approx(0.01, rel=0.15)
    assert deviation(plain, "box_predictor", "kernel") == pytest.approx(1e-5, rel=0.15)
    assert deviation(separable, "class_predictor", "pointwise_kernel") == pytest.approx(0.03, rel=0.3)
    assert deviation(separable, "class_predictor", "depthwise_kernel") == pytest.approx(0.03, rel=0.3)
    glorot = np.sqrt(2 / (WIDTH + WIDTH))
    assert deviation(separable, "class_conv1", "pointwise_kernel") == pytest.approx(glorot, rel=0.3)


def test_a_head_is_regularized_as_published():
    towers = {"class_conv0", "class_conv1", "box_conv0", "box_conv1"}
    predictors = {"class_predictor", "box_predictor"}
    assert _penalized(_retinanet(l2=0.1)) == towers | predictors
    separable = _retinanet(separable=True, l2=0.1)
    assert _penalized(separable) == predictors
    assert len(separable.get_layer("class_predictor").losses) == 2, "both of its kernels"


def test_a_level_is_blind_to_the_others(randomize):
    model = randomize(_retinanet())
    maps = _maps()
    changed = [maps[0], _maps(1)[1], maps[2]]
    before, after = model(maps)["class_logits"], model(changed)["class_logits"]
    np.testing.assert_array_equal(before["P3"], after["P3"])
    np.testing.assert_array_equal(before["P5"], after["P5"])
    assert np.abs(np.array(before["P4"]) - np.array(after["P4"])).max() > 1e-3


def test_the_classifier_averages_the_levels_at_the_finest_size(randomize):
    pyramid, image = _pyramid(), keras.Input((64, 64, 3))
    logits = classification_head(pyramid, image, 5, Style())
    model = randomize(keras.Model([*pyramid.values(), image], logits))
    maps = _maps()
    enlarged = [np.repeat(np.repeat(x, 8 // x.shape[1], axis=1), 8 // x.shape[1], axis=2) for x in maps]
    dense = model.get_layer("head_logits")
    expected = np.mean(enlarged, axis=0).mean(axis=(1, 2)) @ np.array(dense.kernel.value) + np.array(dense.bias.value)
    np.testing.assert_allclose(model([*maps, np.zeros((2, 64, 64, 3), "float32")]), expected, atol=1e-5)


def test_the_classifier_is_regularized_but_for_its_bias(randomize):
    pyramid, image = _pyramid(), keras.Input((64, 64, 3))
    inputs = [*pyramid.values(), image]
    model = randomize(keras.Model(inputs, classification_head(pyramid, image, 5, Style(l2=0.1))))
    kernel = np.array(model.get_layer("head_logits").kernel.value)
    np.testing.assert_allclose([float(loss) for loss in model.losses], [0.05 * np.sum(kernel**2)], rtol=1e-5)


def test_logits_are_float32_under_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        pyramid, image = _pyramid(), keras.Input((64, 64, 3))
        assert classification_head(pyramid, image, 5, Style()).dtype == "float32"
    finally:
        keras.config.set_dtype_policy("float32")
