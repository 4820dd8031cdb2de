"""Checkpoints of the authors' first code (TensorFlow 1): variables by name, networks that compute a little otherwise.

Give the factory `OVERRIDES`, and `MOBILE_OVERRIDES` for a mobile net: with them a detector computes what these weights
were trained to compute, on sides that are multiples of 128.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np

from spinenet_tf.backbones import Backbone
from spinenet_tf.checkpoints.model_garden import GRAPH_KEY, assign, open_checkpoint
from spinenet_tf.checkpoints.names import Creation, Scope, layer_variables
from spinenet_tf.retinanet import RetinaNet

# RetinaNet's; of a classifier, norm_momentum is 0.9 and norm_epsilon 1e-5.
OVERRIDES: dict[str, Any] = {
    "tf1_zoo": True,
    "norm_momentum": 0.997,
    "norm_epsilon": 1e-4,
    "aspect_ratios": (1.0, 2.0, 0.5),
    "background": True,
    "plus_one": True,
}
MOBILE_OVERRIDES = OVERRIDES | {"se_gate": "sigmoid"}
CLASS_BIAS = "class_net/class-predict/bias"

ROOT, HEAD = "spinenet/", "retinanet/"
_TOWERS = {"class": "class_net/class", "box": "box_net/box"}
# What a trainer writes beside the network.
_TRAINING_STATE = re.compile(r"global_step|.*/(Momentum|ExponentialMovingAverage)")
_AVERAGE = "/ExponentialMovingAverage"
_NUMBERED = re.compile(
    r"(?P<scope>.*?)(?P<kind>conv2d|depthwise_conv2d|batch_normalization)(_(?P<number>\d+))?/(?P<v>\w+)"
)


def load_tf1_checkpoint(
    model: Backbone | RetinaNet, path: str | os.PathLike, *, averaged: bool = True, ignore: Iterable[str] = ()
) -> None:
    """Give a detector or backbone the weights of a checkpoint of the TF1 zoo; after an error the model is as it was.

    Every variable of the model is found once, by name and shape, and none of the checkpoint is left over, but for the
    head, if the model is a backbone, and names that begin with one of `ignore`. Moving averages go before trained
    values, unless `averaged` is False.

    Raises:
        CheckpointError: there is no checkpoint, it does not read, or the two networks differ.
    """
    load_tf1_variables(model, read_tf1_checkpoint(path, averaged=averaged), str(path), ignore=ignore)


def load_tf1_variables(
    model: Backbone | RetinaNet, found: Mapping[str, np.ndarray], source: str, *, ignore: Iterable[str] = ()
) -> None:
    """Do what `load_tf1_checkpoint` does with variables that were read already; `source` is named in errors."""
    kept = {
        name: value
        for name, value in found.items()
        if not name.startswith(tuple(ignore)) and (isinstance(model, RetinaNet) or name.startswith(ROOT))
    }
    assign(model, variables_by_tf1_name(model), {_canonical(name): value for name, value in kept.items()}, source)


def variables_by_tf1_name(model: Backbone | RetinaNet) -> dict[str, Any]:
    """Return every variable of a network by the canonical form of its TF1 name."""
    backbone = model.backbone if isinstance(model, RetinaNet) else model
    named = dict(layer_variables(backbone, _Tf1Creation(backbone).backbone()))
    if isinstance(model, RetinaNet):
        named |= dict(layer_variables(model, _head_scopes(model)))
    return named


class _Tf1Creation(Creation):
    """TensorFlow 1 numbers layers anew in each variable scope, and each block and resampler has one of its own."""

    block_convs: ClassVar[dict[str, tuple[str, ...]]] = Creation.block_convs | {
        "mbconv": ("expand", "depthwise", "se_squeeze", "se_excite", "project")
    }
    root = ROOT

    def resample_scope(self, node: int, parent: int) -> str:
        policy = node - len(self.spec.stem)
        kind = "sepconv" if self.spec.is_mobile else "alpha"
        return f"{ROOT}sub_policy{policy}/resample_with_{kind}_resample_{policy}_{parent}/"

    def block_scope(self, kind: str, node: int) -> str:
        policy = node - len(self.spec.stem)
        return ROOT if policy < 0 else f"{ROOT}sub_policy{policy}/scale_permuted_block_{node}/"

    def gate_scope(self, block_scope: str) -> str:
        return block_scope


def _head_scopes(detector: RetinaNet) -> Iterator[Scope]:
    levels = range(detector.anchor_spec.min_level, detector.anchor_spec.max_level + 1)
    for ours, theirs in _TOWERS.items():
        yield f"{ours}_predictor", f"{HEAD}{theirs}-predict"
        for index in range(detector.head_depth):
            yield f"{ours}_conv{index}", f"{HEAD}{theirs}-{index}"
            for level in levels:
                yield f"{ours}_conv{index}_P{level}_bn", f"{HEAD}{theirs}-{index}-{level}"


def _canonical(name: str) -> str:
    found = _NUMBERED.fullmatch(name)
    if found is None:
        return name
    kind = "norm" if found["kind"] == "batch_normalization" else found["kind"]
    return f"{found['scope']}{kind}:{found['number'] or 0}/{found['v']}"


def is_tf1_checkpoint(path: str | os.PathLike) -> bool:
    """Tell whether a checkpoint is of TensorFlow 1: it has names, but no object graph.

    Raises:
        CheckpointError: there is no checkpoint, or it does not read.
    """
    return not open_checkpoint(path).has_tensor(GRAPH_KEY)


def read_tf1_checkpoint(path: str | os.PathLike, *, averaged: bool = True) -> dict[str, np.ndarray]:
    """Return a network's variables by name, without what a trainer writes beside them.

    Raises:
        CheckpointError: there is no checkpoint, or it does not read.
    """
    reader = open_checkpoint(path)
    names = reader.get_variable_to_shape_map()
    network = [name for name in names if not _TRAINING_STATE.fullmatch(name)]
    stored = {name: name + _AVERAGE if averaged and name + _AVERAGE in names else name for name in network}
    return {name: reader.get_tensor(key) for name, key in stored.items()}
