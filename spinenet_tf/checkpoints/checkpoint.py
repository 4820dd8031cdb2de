"""A checkpoint of another project: variables with names that map to the variables of our models."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import numpy as np

from spinenet_tf.checkpoints.names import Network
from spinenet_tf.heads.mask_rcnn.model import MaskRCNN
from spinenet_tf.heads.retinanet import RetinaNet
from spinenet_tf.nets.backbone import Backbone
from spinenet_tf.ops.anchors import AnchorSpec

_SHOWN = 12  # the number of differences of each kind in an error message


class CheckpointError(ValueError):
    """The checkpoint does not exist, is not readable, or has another architecture."""


@dataclass(frozen=True)
class Checkpoint(ABC):
    """The variables of one network, without the state of a trainer.

    `found` has the variables by their names in the other project; error messages call the checkpoint `source`.
    """

    source: str
    found: Mapping[str, np.ndarray]

    class_biases: ClassVar[Mapping[str, str]]  # of each head that detects, the end of the name of its class bias
    logits_bias: ClassVar[str | None] = None  # the name of a classifier's bias, if the project has classifiers
    is_tf1_zoo: ClassVar[bool]

    @abstractmethod
    def overrides(self, *, has_mbconv: bool) -> dict[str, Any]:
        """Return the overrides of the factory for networks of this project."""

    @staticmethod
    @abstractmethod
    def variables(model: Network) -> dict[str, keras.Variable]:
        """Return the variables of `model` by the canonical names of this project."""

    @staticmethod
    @abstractmethod
    def canonical_names(names: Iterable[str]) -> dict[str, str]:
        """Return {canonical name: name} for `names`."""

    @staticmethod
    @abstractmethod
    def is_of_backbone(name: str) -> bool:
        """Return whether a variable belongs to the backbone, not to a head."""

    @property
    def is_classifier(self) -> bool:
        """Whether the network is an image classifier."""
        return any(name == self.logits_bias for name in self.found)

    @property
    def head(self) -> str | None:
        """The head of the detector, or None."""
        return next((head for head, end in self.class_biases.items() if self._values(end)), None)

    def detector_head(self) -> str:
        """Return the head of the detector.

        Raises:
            CheckpointError: there is none.
        """
        if self.head is None:
            heads = f"{RetinaNet.__name__} or {MaskRCNN.__name__}"
            raise CheckpointError(
                f"{self.source} has no {heads} head: set a target that ends in .weights.h5 to convert the backbone."
            )
        return self.head

    def num_classes(self) -> int:
        """Return the number of classes of the head, including the background.

        Raises:
            CheckpointError: there is no head.
        """
        if self.is_classifier:
            return self.found[str(self.logits_bias)].size
        head = self.detector_head()
        (bias,) = self._values(self.class_biases[head])
        return bias.size // (AnchorSpec().per_location if head == RetinaNet.head else 1)

    def _values(self, end: str) -> list[np.ndarray]:
        return [value for name, value in self.found.items() if name.endswith(end)]

    def load(self, model: Network, *, ignore: Iterable[str] = ()) -> None:
        """Load the weights into a detector, classifier or backbone; after an error the model is unchanged.

        Names and shapes of the model and the checkpoint must match exactly, except that a backbone ignores the head,
        and that names which start with one of `ignore` are skipped.

        Raises:
            CheckpointError: the networks differ; the message lists the differences.
        """
        backbone = model if isinstance(model, Backbone) else model.backbone
        if backbone.style.tf1_zoo != self.is_tf1_zoo:
            made = "the authors' TensorFlow 1 code" if self.is_tf1_zoo else "TF Model Garden"
            raise CheckpointError(f"{self.source} is from {made}: build the model with tf1_zoo={self.is_tf1_zoo}.")
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
                "\n  ".join([f"{self.source} does not contain the weights of {model.name}:", *differences])
            )
        for name, variable in variables.items():
            variable.assign(values[name])


def _differences(ours: Mapping[str, keras.Variable], theirs: Mapping[str, np.ndarray]) -> Iterator[str]:
    shapes = [
        f"{name}: {theirs[name].shape} in the checkpoint, {tuple(ours[name].shape)} in the model"
        for name in ours.keys() & theirs.keys()
        if theirs[name].shape != tuple(ours[name].shape)
    ]
    kinds = {"only in the model": ours.keys() - theirs.keys(), "only in the checkpoint": theirs.keys() - ours.keys()}
    for title, lines in {"different shape": shapes, **kinds}.items():
        yield from (f"{title}: {line}" for line in sorted(lines)[:_SHOWN])
        if len(lines) > _SHOWN:
            yield f"{title}: {len(lines) - _SHOWN} more"
