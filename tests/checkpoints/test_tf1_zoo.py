"""Weights with the names of the TF1 zoo give the same results as its code, rewritten here in plain TensorFlow."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tf1_files import tf1_values, with_training_state, write

import spinenet_tf
from spinenet_tf import ArchitectureSpec, BlockSpec
from spinenet_tf.checkpoints.checkpoint import CheckpointError
from spinenet_tf.checkpoints.origins import load_checkpoint
from spinenet_tf.checkpoints.tf1_zoo import CLASSIFIER_OVERRIDES, MOBILE_OVERRIDES, OVERRIDES
from spinenet_tf.heads.retinanet import RetinaNetOptions
from spinenet_tf.ops.boxes import decode
from spinenet_tf.ops.decoding import detections
from spinenet_tf.training.from_checkpoint import convert_detector
from spinenet_tf.training.run import Run

SIDE, CLASSES = 128, 4
# From level 2 to 4, 5 and 6 in one step, and up again; nobody reads node 3.
SPEC = ArchitectureSpec(
    "leaps",
    (2, 2),
    (
        BlockSpec(5, "bottleneck", (0, 1)),
        BlockSpec(3, "bottleneck", (0, 1)),
        BlockSpec(6, "residual", (1, 2)),
        BlockSpec(4, "residual", (1, 4)),
        BlockSpec(3, "bottleneck", (0, 5), is_output=True),
        BlockSpec(4, "bottleneck", (2, 5), is_output=True),
        BlockSpec(5, "bottleneck", (1, 4), is_output=True),
    ),
    {2: 4, 3: 4, 4: 8, 5: 8, 6: 8},
)
OPTIONS = OVERRIDES | {"max_level": 5, "head_width": 8, "head_depth": 2, "endpoint": 8, "width": 1.0}


@pytest.fixture(scope="module")
def detector(randomize):
    return randomize(spinenet_tf.detector(SPEC, CLASSES, (SIDE, SIDE, 3), **OPTIONS))


@pytest.fixture(scope="module")
def variables(detector) -> dict[str, np.ndarray]:
    return tf1_values(detector)


@pytest.fixture(scope="module")
def checkpoint(variables, tmp_path_factory) -> Path:
    """Return a checkpoint as a trainer writes it, with momenta and the global step."""
    return write(with_training_state(variables), tmp_path_factory.mktemp("tf1"))


class _Tf1Code:
    """The forward pass, using only variable names: TensorFlow 1 numbers the layers of a kind per scope."""

    def __init__(self, variables: dict[str, np.ndarray], epsilon: float = 1e-4):
        self.variables, self.counts, self.epsilon = variables, defaultdict(int), epsilon

    def conv_bn(self, x, scope: str, strides: int = 1, activate: bool = True):
        kernel = self.variables[self._next(scope, "conv2d") + "/kernel"]
        size = kernel.shape[0]
        if strides > 1:
            before, after = (size - 1) // 2, size - 1 - (size - 1) // 2
            x = tf.pad(x, [[0, 0], [before, after], [before, after], [0, 0]])
        x = tf.nn.conv2d(x, kernel, strides, "SAME" if strides == 1 else "VALID")
        norm = self._next(scope, "batch_normalization")
        mean, variance, beta, gamma = (
            self.variables[f"{norm}/{part}"] for part in ("moving_mean", "moving_variance", "beta", "gamma")
        )
        x = tf.nn.batch_normalization(x, mean, variance, beta, gamma, self.epsilon)
        return tf.nn.relu(x) if activate else x

    def block(self, x, kind: str, scope: str):
        convs = {"bottleneck": 3, "residual": 2}[kind]
        is_first = x.shape[-1] == 64  # what the stem's first conv emits; elsewhere shapes agree
        shortcut = self.conv_bn(x, scope, activate=False) if is_first else x
        for index in range(convs):
            x = self.conv_bn(x, scope, activate=index < convs - 1)
        return tf.nn.relu(x + shortcut)

    def resample(self, x, scope: str, target: int):
        width = x.shape[2]
        x = self.conv_bn(x, scope)
        if width > target:
            x = self.conv_bn(x, scope, strides=2)
            if width // target > 2:
                stride = 2 if width % target else width // target // 2
                x = tf.nn.max_pool2d(x, 3 if width / target <= 4 else 5, stride, "SAME")
        return self.conv_bn(_resize(x, target), scope, activate=False)

    def backbone(self, x) -> dict:
        side = x.shape[2]
        x = self.conv_bn(x, "spinenet/", strides=2)
        x = tf.nn.max_pool2d(x, 3, 2, "SAME")
        nodes, unread = [], {3}
        for _ in SPEC.stem:
            x = self.block(x, "bottleneck", "spinenet/")
            nodes.append(x)
        outputs = {}
        for index, block in enumerate(SPEC.blocks):
            policy = f"spinenet/sub_policy{index}/"
            target = math.ceil(side / 2**block.level)
            parents = [
                self.resample(nodes[parent], f"{policy}resample_with_alpha_resample_{index}_{position}/", target)
                for position, parent in enumerate(block.parents)
            ]
            if block.is_output and block.level == 3:
                parents.append(nodes[unread.pop()])
            x = self.block(tf.nn.relu(tf.add_n(parents)), block.kind, f"{policy}scale_permuted_block_{index + 2}/")
            nodes.append(x)
            if block.is_output:
                outputs[block.level] = x
        return {f"P{level}": self.conv_bn(outputs[level], "spinenet/") for level in sorted(outputs)}

    def logits(self, x):
        features = self.backbone(x)
        x = features["P5"]
        for level in (4, 3):
            x = features[f"P{level}"] + _resize(x, features[f"P{level}"].shape[2])
        x = tf.reduce_mean(x / 3, axis=[1, 2])
        return x @ self.variables["classification_head/dense/kernel"] + self.variables["classification_head/dense/bias"]

    def _next(self, scope: str, kind: str) -> str:
        number = self.counts[scope, kind]
        self.counts[scope, kind] += 1
        return f"{scope}{kind}_{number}" if number else scope + kind


def _resize(x, side: int):
    """Pick pixels as TensorFlow 1 does: floor(index * source / target)."""
    return tf.compat.v1.image.resize_nearest_neighbor(x, [side, side])


@pytest.mark.parametrize("side", [SIDE, 112])
def test_a_backbone_computes_what_the_tf1_code_does(side, detector, variables, images):
    """The level sizes of 112 px are not multiples of each other, like those of ImageNet's 224 px."""
    net = spinenet_tf.backbone(
        SPEC, (side, side, 3), max_level=5, endpoint=8, tf1_zoo=True, norm_epsilon=1e-4, width=1.0
    )
    net.set_weights(detector.backbone.get_weights())
    x = images(side, side)
    expected, got = _Tf1Code(variables).backbone(x), net(x, training=False)
    for level, value in expected.items():
        np.testing.assert_allclose(got[level], value, rtol=1e-4, atol=1e-4 * np.abs(value).max())


def test_a_classifier_computes_what_the_tf1_code_does(tmp_path, randomize, images, succeed, monkeypatch, tiny_row):
    """ImageNet classifiers have 1001 classes, the first of which is the background."""
    monkeypatch.setitem(spinenet_tf.nets.family.VARIANTS, "leaps", replace(tiny_row, graph=SPEC))
    options = CLASSIFIER_OVERRIDES | {"max_level": 5}
    ours = randomize(spinenet_tf.classifier("leaps", 1001, (112, 112, 3), **options))
    values = tf1_values(ours)
    checkpoint, path = write(values, tmp_path), tmp_path / "imagenet.weights.h5"
    succeed("convert", checkpoint, path, "max_level=5", "activation=relu", "--model", "leaps", "--classifier")
    loaded = spinenet_tf.classifier("leaps", 1001, (112, 112, 3), weights=path, **options)
    x = images(112, 112)
    expected = _Tf1Code(values, epsilon=1e-5).logits(x)
    np.testing.assert_allclose(loaded(x), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    succeed("convert", checkpoint, tmp_path / "net.weights.h5", "max_level=5", "activation=relu", "--model", "leaps")
    net = spinenet_tf.backbone("leaps", (112, 112, 3), weights=tmp_path / "net.weights.h5", **options)
    np.testing.assert_array_equal(net(x)["P3"], ours.backbone(x)["P3"])


def test_a_checkpoint_loads_by_name(detector, checkpoint, images):
    again = spinenet_tf.detector(SPEC, CLASSES, (SIDE, SIDE, 3), **OPTIONS)
    load_checkpoint(again, checkpoint)
    for ours, theirs in zip(again.weights, detector.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))
    net = spinenet_tf.backbone(
        SPEC, (SIDE, SIDE, 3), max_level=5, endpoint=8, tf1_zoo=True, norm_epsilon=1e-4, width=1.0
    )
    load_checkpoint(net, checkpoint.parent)
    x = images(SIDE, SIDE)
    np.testing.assert_array_equal(net(x)["P3"], detector.backbone(x)["P3"])


def test_the_scopes_are_those_of_the_published_files(variables):
    detector = spinenet_tf.detector("spinenet_49s", 91, (SIDE, SIDE, 3), **OVERRIDES)
    names = set(tf1_values(detector))
    assert {
        "spinenet/conv2d/kernel",
        "spinenet/conv2d_12/kernel",
        "spinenet/batch_normalization_12/moving_mean",
        "spinenet/sub_policy0/resample_with_alpha_resample_0_1/conv2d_1/kernel",
        "spinenet/sub_policy14/scale_permuted_block_16/conv2d_2/kernel",
        "retinanet/class_net/class-0/bias",
        "retinanet/class_net/class-3-7/gamma",
        "retinanet/class_net/class-predict/kernel",
        "retinanet/box_net/box-predict/bias",
    } <= names
    assert not any(name.startswith("spinenet/sub_policy15") for name in names)


def test_a_mobile_checkpoint_loads_by_name(tmp_path, randomize, images):
    name = "spinenet_mobile_49xs"
    ours = randomize(spinenet_tf.detector(name, CLASSES, (SIDE, SIDE, 3), **MOBILE_OVERRIDES))
    values = tf1_values(ours)
    assert any("resample_with_sepconv_resample_0_0/conv2d/" in key for key in values)
    again = spinenet_tf.detector(name, CLASSES, (SIDE, SIDE, 3), **MOBILE_OVERRIDES)
    load_checkpoint(again, write(values, tmp_path))
    x = images(SIDE, SIDE, batch=1)
    np.testing.assert_array_equal(again(x)["class_logits"]["P3"], ours(x)["class_logits"]["P3"])


def test_a_zoo_checkpoint_becomes_a_run(tmp_path, randomize, images):
    name = "spinenet_mobile_49xs"
    ours = randomize(spinenet_tf.detector(name, CLASSES, (SIDE, SIDE, 3), **MOBILE_OVERRIDES))
    values = tf1_values(ours)
    converted = convert_detector(
        write(values, tmp_path), tmp_path / "run", name, image_size=(SIDE, SIDE), overrides={"activation": "swish"}
    )
    run = Run(tmp_path / "run")
    loaded, config = run.load(), run.config
    assert config.class_names == ("background", "class 1", "class 2", "class 3")
    assert loaded.options.plus_one
    x = images(SIDE, SIDE, batch=1)
    for net in (converted, loaded):
        np.testing.assert_array_equal(net(x)["box_deltas"]["P5"], ours(x)["box_deltas"]["P5"])


def test_another_architecture_is_a_list_of_differences(checkpoint):
    wider = spinenet_tf.detector(SPEC, CLASSES, (SIDE, SIDE, 3), **OPTIONS | {"head_width": 9})
    with pytest.raises(CheckpointError, match=r"different shape: retinanet/box_net"):
        load_checkpoint(wider, checkpoint)
    with pytest.raises(CheckpointError, match="Checkpoint not found"):
        load_checkpoint(wider, checkpoint.parent / "nothing")
    todays = spinenet_tf.detector(SPEC, CLASSES, (SIDE, SIDE, 3), **OPTIONS | {"tf1_zoo": False})
    with pytest.raises(CheckpointError, match="TensorFlow 1 code: build the model with tf1_zoo=True"):
        load_checkpoint(todays, checkpoint)


def test_boxes_end_in_their_last_pixel():
    """The TF1 zoo decodes with sides of max - min + 1, then subtracts the 1; its boxes end at size - 1."""
    anchors = np.array([[8.0, 8, 23, 23], [90, 90, 140, 140]], np.float32)
    deltas = np.array([[[0.1, -0.2, 0.3, 0.0], [0, 0, 0, 0]]], np.float32)
    found = detections(
        np.array([[[3.0], [2.0]]], np.float32), deltas, anchors, 128, 128, **RetinaNetOptions().pool(), plus_one=True
    )
    sides = anchors[:, 2:] - anchors[:, :2] + 1
    centers = anchors[:, :2] + 0.5 * sides
    height, width = np.exp([0.3, 0.0]) * sides[0]
    y, x = deltas[0, 0, :2] * sides[0] + centers[0]
    expected = [y - height / 2, x - width / 2, y + height / 2 - 1, x + width / 2 - 1]
    np.testing.assert_allclose(found["boxes"][0, 0], expected, rtol=1e-6)
    np.testing.assert_allclose(found["boxes"][0, 1], [90, 90, 127, 127])
    plain = decode(deltas[0, :1], anchors[:1])
    assert not np.allclose(found["boxes"][0, 0], plain[0])
