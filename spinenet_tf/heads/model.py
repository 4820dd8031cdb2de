"""The base class of models with a head: how they are saved, and checked against weights files."""

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
        """Store what training and prediction need besides the network."""
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
        """Convert the config in a `.keras` file of this or an earlier version to the form of this version."""
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
    """Check that a model has classes.

    Raises:
        ValueError: `num_classes` is not positive.
    """
    if num_classes < 1:
        raise ValueError(f"A {what} needs at least one class. Received: num_classes={num_classes}")


def check_levels(what: str, backbone: Backbone) -> None:
    """Check that a backbone has a level that the head can read, P3 or coarser.

    Raises:
        ValueError: all levels are finer than P3.
    """
    if backbone.max_level < 3:
        received = f"{backbone.name}, whose coarsest level is P{backbone.max_level}"
        raise ValueError(f"The {what} needs a level P3 or coarser. Received: {received}")
