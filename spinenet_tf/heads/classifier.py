"""The image classifier: a backbone and the paper's classification head."""

from __future__ import annotations

import inspect
from typing import Any

import keras
import numpy as np
from keras import ops

from spinenet_tf.heads.towers import classification_head
from spinenet_tf.nets.backbone import Backbone
from spinenet_tf.nets.base import SpineNetModel


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

    def _before_fit(self, given: dict[str, Any]) -> None:
        super()._before_fit(given)
        self._check_labels(given.get("y"))

    def evaluate(self, *args, **kwargs):
        """Measure as Keras does, by the same arguments; arrays of class numbers are checked as `fit` checks them."""
        self._check_labels(inspect.signature(super().evaluate).bind(*args, **kwargs).arguments.get("y"))
        return super().evaluate(*args, **kwargs)

    def _check_labels(self, labels: Any) -> None:
        """Refuse class numbers out of range, which end in a trace of the graph or, on other devices, without a word.

        Raises:
            ValueError: `labels`, an array of whole numbers `[B]` or `[B, 1]`, hold one that is no class.
        """
        shape = tuple(getattr(labels, "shape", ()))
        if self.num_classes == 1 or len(shape) not in (1, 2) or shape[1:] not in ((), (1,)):
            return  # one logit is taken for yes or no, and what is wider for shares of classes
        numbers = np.ravel(keras.ops.convert_to_numpy(labels))
        if numbers.dtype.kind not in "iu":
            return
        ignored = getattr(getattr(self, "loss", None), "ignore_class", None)
        odd = numbers[((numbers < 0) | (numbers >= self.num_classes)) & (numbers != ignored)]
        if len(odd):
            raise ValueError(f"Classes are 0 to {self.num_classes - 1}. Received: label {odd[0]}")

    def get_config(self) -> dict[str, Any]:
        backbone = keras.saving.serialize_keras_object(self.backbone)
        return {"backbone": backbone, "num_classes": self.num_classes, "name": self.name}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        return cls(keras.saving.deserialize_keras_object(config.pop("backbone"), custom_objects), **config)

    def architecture(self) -> dict[str, Any]:
        return {"backbone": self.backbone.architecture(), "classifier": {"classes": self.num_classes}}


@keras.saving.register_keras_serializable("spinenet_tf")
class SmoothedCrossentropy(keras.losses.Loss):
    """Cross-entropy of logits `[B, C]` with labels `[B]`, of which a share is spread over all classes (Szegedy 2016).

    Keras smooths one-hot labels only, which a pipeline would have to carry for thousands of classes.
    """

    def __init__(self, label_smoothing: float = 0.0, **kwargs):
        super().__init__(**kwargs)
        self.label_smoothing = label_smoothing

    def call(self, y_true, y_pred):
        targets = ops.one_hot(ops.reshape(y_true, [-1]), y_pred.shape[-1])
        return keras.losses.categorical_crossentropy(
            targets, y_pred, from_logits=True, label_smoothing=self.label_smoothing
        )

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"label_smoothing": self.label_smoothing}
