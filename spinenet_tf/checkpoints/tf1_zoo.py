"""Read checkpoints of the authors' TensorFlow 1 code, whose networks differ slightly from those of TF Model Garden.

Build detectors with `OVERRIDES`, or `MOBILE_OVERRIDES` for a mobile net: at sides that are multiples of 128, they then
compute the same as the networks that these weights were trained in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from spinenet_tf.checkpoints.checkpoint import Checkpoint
from spinenet_tf.checkpoints.mask_rcnn_names import TF1_ZOO, canonical_tf1_rpn
from spinenet_tf.checkpoints.names import Creation, HeadScopes, Network, Scope, variables_by_name
from spinenet_tf.heads.mask_rcnn.model import MaskRCNN
from spinenet_tf.heads.retinanet import RetinaNet

# RetinaNet's.
OVERRIDES: dict[str, Any] = {
    "tf1_zoo": True,
    "norm_momentum": 0.997,
    "norm_epsilon": 1e-4,
    "aspect_ratios": (1.0, 2.0, 0.5),
    "background": True,
    "plus_one": True,
}
MOBILE_OVERRIDES = OVERRIDES | {"se_gate": "sigmoid"}
# Mask R-CNN's; no net of it is mobile.
MASK_RCNN_OVERRIDES = OVERRIDES | {"norm_momentum": 0.99, "norm_epsilon": 1e-3}
CLASSIFIER_OVERRIDES: dict[str, Any] = {"tf1_zoo": True, "norm_momentum": 0.9, "norm_epsilon": 1e-5}

ROOT = "spinenet/"
LOGITS = "classification_head/dense"
# Variables that belong to the trainer, not to the network.
_TRAINING_STATE = re.compile(r"global_step|.*/(Momentum|ExponentialMovingAverage)")
_AVERAGE = "/ExponentialMovingAverage"
_NUMBERED = re.compile(
    r"(?P<scope>.*?)(?P<kind>conv2d|depthwise_conv2d|batch_normalization)(_(?P<number>\d+))?/(?P<v>\w+)"
)


class Tf1Checkpoint(Checkpoint):
    """A checkpoint of the authors' TensorFlow 1 code."""

    class_biases: ClassVar[Mapping[str, str]] = {
        RetinaNet.head: "class_net/class-predict/bias",
        MaskRCNN.head: f"{TF1_ZOO['box_class_predictor']}/bias",
    }
    logits_bias = f"{LOGITS}/bias"
    is_tf1_zoo = True

    def overrides(self, *, has_mbconv: bool) -> dict[str, Any]:
        if self.is_classifier:
            return CLASSIFIER_OVERRIDES
        if self.head == MaskRCNN.head:
            return MASK_RCNN_OVERRIDES
        return MOBILE_OVERRIDES if has_mbconv else OVERRIDES

    @staticmethod
    def variables(model: Network) -> dict[str, keras.Variable]:
        return variables_by_name(model, _Tf1Creation)

    @staticmethod
    def canonical_names(names: Iterable[str]) -> dict[str, str]:
        return {_canonical(name): name for name in names}

    @staticmethod
    def is_of_backbone(name: str) -> bool:
        return name.startswith(ROOT)


def read_variables(reader: tf.train.CheckpointReader, *, averaged: bool) -> dict[str, np.ndarray]:
    """Return a network's variables by name."""
    names = reader.get_variable_to_shape_map()
    network = [name for name in names if not _TRAINING_STATE.fullmatch(name)]
    stored = {name: name + _AVERAGE if averaged and name + _AVERAGE in names else name for name in network}
    return {name: reader.get_tensor(key) for name, key in stored.items()}


class _Tf1Creation(Creation):
    """Number layers per variable scope, as in TensorFlow 1, where each block and resampler has its own scope."""

    block_convs: ClassVar[dict[str, tuple[str, ...]]] = Creation.block_convs | {
        "mbconv": ("expand", "depthwise", "se_squeeze", "se_excite", "project")
    }
    root = ROOT
    heads: ClassVar[dict[str, HeadScopes]] = {
        half: HeadScopes(f"{scope}-predict", scope + "-{index}", scope + "-{index}-{level}")
        for half, scope in (("class", "retinanet/class_net/class"), ("box", "retinanet/box_net/box"))
    }

    mask_rcnn: ClassVar[Mapping[str, str]] = TF1_ZOO

    def classifier(self) -> Iterator[Scope]:
        yield "head_logits", LOGITS

    def resample_scope(self, node: int, parent: int) -> str:
        policy = node - len(self.spec.stem)
        kind = "sepconv" if self.spec.is_separable else "alpha"
        return f"{ROOT}sub_policy{policy}/resample_with_{kind}_resample_{policy}_{parent}/"

    def block_scope(self, kind: str, node: int) -> str:
        policy = node - len(self.spec.stem)
        return ROOT if policy < 0 else f"{ROOT}sub_policy{policy}/scale_permuted_block_{node}/"

    def gate_scope(self, block_scope: str) -> str:
        return block_scope


def _canonical(name: str) -> str:
    if rpn := canonical_tf1_rpn(name):
        return rpn
    found = _NUMBERED.fullmatch(name)
    if found is None:
        return name
    kind = "norm" if found["kind"] == "batch_normalization" else found["kind"]
    return f"{found['scope']}{kind}:{found['number'] or 0}/{found['v']}"
