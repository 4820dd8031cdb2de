"""A checkpoint of another code base: variables under names of its own, each of which is one of ours."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import numpy as np

from spinenet_tf.checkpoints.names import Network
from spinenet_tf.heads.retinanet import RetinaNet
from spinenet_tf.nets.backbone import Backbone
from spinenet_tf.ops.anchors import AnchorSpec

_SHOWN = 12  # differences of a kind that an error lists


class CheckpointError(ValueError):
    """A checkpoint that is not there, not readable, or of another architecture."""


@dataclass(frozen=True)
class Checkpoint(ABC):
    """The variables of one network, without what a trainer keeps beside them.

    `found` has them by the names that their code base gave them; errors call the checkpoint `source`.
    """

    source: str
    found: Mapping[str, np.ndarray]

    head: ClassVar[str] = RetinaNet.head  # of all detectors of these code bases that are read
    class_bias: ClassVar[str]  # the end of the name of RetinaNet's class bias
    logits_bias: ClassVar[str | None] = None  # the same of a classifier, where there are any
    is_tf1_zoo: ClassVar[bool]

    @abstractmethod
    def overrides(self, *, has_mbconv: bool) -> dict[str, Any]:
        """Return the overrides of the factory that all such networks of this code base have."""

    @staticmethod
    @abstractmethod
    def variables(model: Network) -> dict[str, keras.Variable]:
        """Return the variables of `model` by this code base's canonical names."""

    @staticmethod
    @abstractmethod
    def canonical_names(names: Iterable[str]) -> dict[str, str]:
        """Return `names` by their canonical names."""

    @staticmethod
    @abstractmethod
    def is_of_backbone(name: str) -> bool:
        """Tell whether a variable is of the backbone, not of a head."""

    @property
    def is_classifier(self) -> bool:
        """Whether this is an image classifier."""
        return any(name == self.logits_bias for name in self.found)

    def num_classes(self) -> int:
        """Return how many classes the head scores, the background among them.

        Raises:
            CheckpointError: there is no head.
        """
        if self.is_classifier:
            return self.found[str(self.logits_bias)].size
        for name, value in self.found.items():
            if name.endswith(self.class_bias):
                return value.size // AnchorSpec().per_location
        raise CheckpointError(
            f"{self.source} has no RetinaNet head: give a target that ends in .weights.h5 for the backbone."
        )

    def load(self, model: Network, *, ignore: Iterable[str] = ()) -> None:
        """Give a detector, classifier or backbone these weights; after an error the model is as it was.

        Every variable of the model is found once, by name and shape, and none of the checkpoint is left over, but for
        the head, if the model is a backbone, and names that begin with one of `ignore`.

        Raises:
            CheckpointError: the two networks differ; the message lists the differences.
        """
        backbone = model if isinstance(model, Backbone) else model.backbone
        if backbone.style.tf1_zoo != self.is_tf1_zoo:
            made = "the authors' TensorFlow 1 code" if self.is_tf1_zoo else "TF Model Garden"
            raise CheckpointError(f"{self.source} is of {made}: build the model with tf1_zoo={self.is_tf1_zoo}.")
        wanted = {
            name: value
            for name, value in self.found.items()
            if not name.startswith(tuple(ignore)) and (model is not backbone or self.is_of_backbone(name))
        }
        values = {canonical: wanted[name] for canonical, name in self.canonical_names(wanted).items()}
        variables = self.variables(model)
        differences = list(_differences(variables, values))
        if differences:
            raise CheckpointError(
                "\n  ".join([f"{self.source} does not hold the weights of {model.name}:", *differences])
            )
        for name, variable in variables.items():
            variable.assign(values[name])


def _differences(ours: Mapping[str, keras.Variable], theirs: Mapping[str, np.ndarray]) -> Iterator[str]:
    shapes = [
        f"{name}: {theirs[name].shape} there, {tuple(ours[name].shape)} in the model"
        for name in ours.keys() & theirs.keys()
        if theirs[name].shape != tuple(ours[name].shape)
    ]
    kinds = {"missing there": ours.keys() - theirs.keys(), "left over there": theirs.keys() - ours.keys()}
    for title, lines in {"of another shape": shapes, **kinds}.items():
        yield from (f"{title}: {line}" for line in sorted(lines)[:_SHOWN])
        if len(lines) > _SHOWN:
            yield f"{title}: {len(lines) - _SHOWN} more"
