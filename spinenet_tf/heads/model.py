"""What every model with a head has: its backbone, its classes and its options, by which it is saved and recognized."""

from __future__ import annotations

from typing import Any, ClassVar

import keras

from spinenet_tf.nets.backbone import Backbone
from spinenet_tf.nets.base import SpineNetModel
from spinenet_tf.nets.options import Options


class HeadModel(SpineNetModel):
    """A backbone and a head of `num_classes`; `head` names its row in the table of heads."""

    head: str
    options_type: ClassVar[type[Options]]

    def _equip(self, backbone: Backbone, num_classes: int, options: Options) -> None:
        """Take what training and prediction need beside the network."""
        self.backbone, self.num_classes, self.options = backbone, num_classes, options

    def get_config(self) -> dict[str, Any]:
        return {
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            "num_classes": self.num_classes,
            "options": self.options.plain(),
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = cls.modern_config(dict(config))
        backbone = keras.saving.deserialize_keras_object(config.pop("backbone"), custom_objects)
        return cls(backbone, **config | {"options": cls.options_type.of(config["options"])})

    @classmethod
    def modern_config(cls, config: dict[str, Any]) -> dict[str, Any]:
        """Return the config of a `.keras` file, also one of an earlier version, as today's would be."""
        return config

    def architecture(self) -> dict[str, Any]:
        return {
            "backbone": self.backbone.architecture(),
            "head": self.head,
            "classes": self.num_classes,
            "options": self.options.of_weights(),
        }

    def _understood(self, architecture: dict[str, Any]) -> dict[str, Any]:
        from spinenet_tf.heads.table import modern_architecture

        return modern_architecture(architecture)


def check_classes(what: str, num_classes: int) -> None:
    """Refuse to build a model without classes.

    Raises:
        ValueError: `num_classes` is not positive.
    """
    if num_classes < 1:
        raise ValueError(f"A {what} has at least one class. Received: num_classes={num_classes}")


def check_levels(what: str, backbone: Backbone) -> None:
    """Refuse a backbone whose maps are all larger than those that a head reads.

    Raises:
        ValueError: it has no level from P3 on.
    """
    if backbone.max_level < 3:
        raise ValueError(f"The {what} reads levels from P3 on. Received: {backbone.name} to P{backbone.max_level}")
