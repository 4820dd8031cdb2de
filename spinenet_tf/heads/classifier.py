"""The image classifier: a backbone with the paper's classification head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from spinenet_tf._fast.variables import named_alike
from spinenet_tf.heads.head import ClassAxis, Head
from spinenet_tf.heads.model import HeadModel, check_classes, check_levels
from spinenet_tf.nets.backbone import Backbone
from spinenet_tf.nets.dtype import Dtype, dtype_scope
from spinenet_tf.nets.options import Options
from spinenet_tf.nets.resample import fuse
from spinenet_tf.nets.style import Style

NAME = "classifier"


@dataclass(frozen=True)
class ClassifierOptions(Options):
    """The options of the classifier, which has none."""


@keras.saving.register_keras_serializable("spinenet_tf")
class Classifier(HeadModel):
    """A classifier from images `[B, H, W, 3]` to logits `[B, num_classes]` (paper, section 3.3).

    Images are normalized, or pixels in 0..255 if the backbone has `include_preprocessing`.

    `dtype` is the dtype policy of the head, by default that of the backbone; the logits are always float32.

    Raises:
        ValueError: `num_classes` is not positive, the backbone has no level from P3 on, or an invalid `dtype`.
    """

    head = NAME
    options_type = ClassifierOptions

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        options: ClassifierOptions | None = None,
        name: str = NAME,
        dtype: Dtype = None,
    ):
        check_classes("classifier", num_classes)
        check_levels("classification head", backbone)
        images = keras.Input(backbone.image_shape, name="images")
        with dtype_scope(backbone.dtype_policy if dtype is None else dtype):
            logits = classification_head(backbone(images), images, num_classes, backbone.style)
            super().__init__(images, logits, name=name)
        self._equip(backbone, num_classes, options or ClassifierOptions())

    def compile_for_labels(self, optimizer: keras.Optimizer, label_smoothing: float = 0.0) -> None:
        """Compile for integer labels `[B]`, with smoothed cross-entropy and top-1 and top-5 accuracy."""
        metrics = [
            keras.metrics.SparseCategoricalAccuracy("top1"),
            keras.metrics.SparseTopKCategoricalAccuracy(min(5, self.num_classes), "top5"),
        ]
        self.compile(optimizer, loss=SmoothedCrossentropy(label_smoothing), metrics=metrics)
        # Keras creates the metrics' variables at the first batch, but restoring a state needs them before.
        self.compute_metrics(None, ops.zeros([1]), ops.zeros([1, self.num_classes]))
        self.reset_metrics()

    def _before_evaluate(self, given: dict[str, Any]) -> None:
        super()._before_evaluate(given)
        self._check_labels(given.get("y"))

    def _check_labels(self, labels: Any) -> None:
        """Refuse class numbers out of range, which crash TensorFlow on CPUs and are silently ignored on other devices.

        Raises:
            ValueError: `labels`, an integer array `[B]` or `[B, 1]`, contain a number that is not a class.
        """
        shape = tuple(getattr(labels, "shape", ()))
        if self.num_classes == 1 or len(shape) not in (1, 2) or shape[1:] not in ((), (1,)):
            return  # a single logit means binary labels; wider labels are fractions of classes
        numbers = np.ravel(keras.ops.convert_to_numpy(labels))
        if numbers.dtype.kind not in "iu":
            return
        ignored = getattr(getattr(self, "loss", None), "ignore_class", None)
        odd = numbers[((numbers < 0) | (numbers >= self.num_classes)) & (numbers != ignored)]
        if len(odd):
            raise ValueError(f"Labels must be 0 to {self.num_classes - 1}. Received: label {odd[0]}")

    @classmethod
    def modern_config(cls, config):
        return {"options": {}} | config


@named_alike()
def classification_head(features: Mapping, image, num_classes: int, style: Style):
    """Return logits `[B, num_classes]` from the mean of the levels at P3's size, pooled, through one dense layer."""
    x = fuse(features, image, style, name="head")
    x = keras.layers.GlobalAveragePooling2D(name="head_pool")(x)
    return keras.layers.Dense(num_classes, kernel_regularizer=style.regularizer, dtype="float32", name="head_logits")(x)


@keras.saving.register_keras_serializable("spinenet_tf")
class SmoothedCrossentropy(keras.losses.Loss):
    """Cross-entropy of logits `[B, C]` and integer labels `[B]`, with label smoothing (Szegedy 2016).

    Keras smooths only one-hot labels, which are large for thousands of classes.
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


def _old_architecture(architecture: dict[str, Any]) -> dict[str, Any] | None:
    if NAME not in architecture:
        return None
    classes = architecture[NAME]["classes"]
    return {"backbone": architecture["backbone"], "head": NAME, "classes": classes, "options": {}}


def _old_metadata(fields: dict[str, Any]) -> dict[str, Any] | None:
    return {"head": NAME, "options": {}} if fields.get("task") == "classification" else None


ROW = Head(
    NAME,
    "classification",
    ClassifierOptions,
    Classifier,
    layouts={"logits": "[batch, class], softmax gives probabilities"},
    class_layers={"head_logits": ClassAxis()},
    outputs=("raw", "probabilities"),
    old_architecture=_old_architecture,
    old_metadata=_old_metadata,
)
