"""The image classifier: a backbone and the paper's classification head."""

from __future__ import annotations

from typing import Any

import keras

from spinenet_tf.backbones import Backbone
from spinenet_tf.base import SpineNetModel
from spinenet_tf.heads import classification_head


@keras.saving.register_keras_serializable("spinenet_tf")
class Classifier(SpineNetModel):
    """A classifier from normalised images `[B, H, W, 3]` to logits `[B, num_classes]` (paper, section 3.3).

    Raises:
        ValueError: `num_classes` is not positive.
    """

    def __init__(self, backbone: Backbone, num_classes: int, name: str = "classifier"):
        if num_classes < 1:
            raise ValueError(f"A classifier has at least one class. Received: num_classes={num_classes}")
        images = keras.Input(backbone.image_shape, name="images")
        logits = classification_head(backbone(images), images, num_classes, backbone.style)
        super().__init__(images, logits, name=name)
        self.backbone = backbone
        self.num_classes = num_classes

    def get_config(self) -> dict[str, Any]:
        backbone = keras.saving.serialize_keras_object(self.backbone)
        return {"backbone": backbone, "num_classes": self.num_classes, "name": self.name}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        return cls(keras.saving.deserialize_keras_object(config.pop("backbone"), custom_objects), **config)

    def architecture(self) -> dict[str, Any]:
        return {"backbone": self.backbone.architecture(), "classifier": {"classes": self.num_classes}}
