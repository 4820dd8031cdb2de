"""Fixtures: nets of TF Model Garden, and ours with the same weights.

These tests need a separate environment (`make test-garden`): tf-models-official pins TensorFlow and Keras 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from official.vision.configs import backbones as backbone_configs
from official.vision.configs import common, decoders, retinanet
from official.vision.modeling import factory
from official.vision.modeling.backbones import factory as backbone_factory

from spinenet_tf.checkpoints.garden_model import canonical_variables
from spinenet_tf.checkpoints.names import variables_by_name
from spinenet_tf.heads.table import find_head, options_of


@pytest.fixture
def float64() -> Iterator[None]:
    """Compute in float64 on both sides: in float32, Model Garden itself varies by a few percent in training mode."""
    keras.config.set_dtype_policy("float64")
    keras.config.set_floatx("float64")
    tf_keras.backend.set_floatx("float64")
    yield
    keras.config.set_dtype_policy("float32")
    keras.config.set_floatx("float32")
    tf_keras.backend.set_floatx("float32")


@pytest.fixture(autouse=True)
def _forget_graphs() -> Iterator[None]:
    yield
    keras.utils.clear_session()
    tf_keras.backend.clear_session()


def _backbone_config(model_id: str, is_mobile: bool, **options):
    if is_mobile:
        net = backbone_configs.SpineNetMobile(model_id=model_id, **options)
        return backbone_configs.Backbone(type="spinenet_mobile", spinenet_mobile=net)
    return backbone_configs.Backbone(type="spinenet", spinenet=backbone_configs.SpineNet(model_id=model_id, **options))


@pytest.fixture(scope="session")
def garden_backbone() -> Callable:
    """Return `build(name, size, min_level, activation, momentum)`: Model Garden's own net for a name of ours."""

    def build(name: str, size: tuple[int, int], min_level: int = 3, activation: str = "relu", momentum: float = 0.99):
        is_mobile = "mobile" in name
        config = _backbone_config(_model_id(name), is_mobile, min_level=min_level, max_level=7)
        return backbone_factory.build_backbone(
            tf_keras.layers.InputSpec(shape=[None, *size, 3]),
            config,
            common.NormActivation(activation=activation, norm_momentum=momentum, norm_epsilon=1e-3),
        )

    return build


@pytest.fixture(scope="session")
def garden_detector() -> Callable:
    """Return `build(name, num_classes, side, ...)`: Model Garden's own RetinaNet for a name of ours."""

    def build(name: str, num_classes: int, side: int, head_width: int, activation: str = "relu", l2: float = 0.0):
        is_mobile = "mobile" in name
        config = retinanet.RetinaNet(num_classes=num_classes, input_size=[side, side, 3], min_level=3, max_level=7)
        config.backbone = _backbone_config(_model_id(name), is_mobile, min_level=3, max_level=7)
        config.decoder = decoders.Decoder(type="identity", identity=decoders.Identity())
        config.anchor.anchor_size = options_of(name, find_head("retinanet")).anchor_size
        config.head.num_filters, config.head.use_separable_conv = head_width, is_mobile
        config.norm_activation = common.NormActivation(activation=activation, norm_momentum=0.99, norm_epsilon=1e-3)
        regularizer = tf_keras.regularizers.l2(l2 / 2) if l2 else None
        spec = tf_keras.layers.InputSpec(shape=[None, side, side, 3])
        model = factory.build_retinanet(spec, config, l2_regularizer=regularizer)
        model(tf.zeros([1, side, side, 3]), training=True)
        return model

    return build


def _model_id(name: str) -> str:
    return name.rpartition("_")[2].upper()


@pytest.fixture(scope="session")
def same_weights() -> Callable:
    """Return `copy(ours, theirs)`, which sets random weights and BN statistics in both nets, matched by name."""

    def copy(ours, theirs, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        named = canonical_variables(theirs.variables)
        for name, variable in variables_by_name(ours).items():
            variable.assign(_value(rng, name, variable.shape))
            named.pop(name).assign(np.asarray(variable))
        assert not named

    return copy


def _value(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    if name.endswith(("gamma", "moving_variance")):
        return rng.uniform(0.5, 1.5, shape)
    if len(shape) == 1:
        return rng.normal(0.0, 0.1, shape)
    fan_in = math.prod(shape[:2]) if "depthwise" in name else math.prod(shape[:-1])
    return rng.normal(0.0, math.sqrt(2.0 / fan_in), shape)
