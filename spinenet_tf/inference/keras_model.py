"""What artifacts and engines ask of a Keras model: its task, its backbone and its one image size."""

from __future__ import annotations

import keras

from spinenet_tf.heads.head import Head
from spinenet_tf.heads.model import HeadModel
from spinenet_tf.heads.table import find_head
from spinenet_tf.nets.backbone import Backbone


def head_of(model: keras.Model) -> Head | None:
    """Return the row of a model's head; None for a backbone.

    Raises:
        ValueError: the model is none of this package's.
    """
    if isinstance(model, Backbone):
        return None
    if isinstance(model, HeadModel):
        return find_head(model.head)
    raise ValueError(f"Only models of spinenet_tf can be exported. Received: model={type(model).__name__}")


def task_of(model: keras.Model) -> str:
    """Return "detection", "classification" or "backbone"; raises as `head_of` does."""
    head = head_of(model)
    return head.task if head else "backbone"


def backbone_of(model: keras.Model) -> Backbone:
    """Return the backbone of a detector or classifier, or the backbone itself."""
    return model if isinstance(model, Backbone) else model.backbone


def image_shape(model: keras.Model) -> tuple[int, int, int]:
    """Return `(H, W, 3)` of a model that can be exported.

    Raises:
        ValueError: a side is unknown, the net computes in half precision, or Keras runs on another backend than
            TensorFlow; the message says what to do.
    """
    height, width, channels = shape = backbone_of(model).image_shape
    static = f"a static input_shape=(H, W, 3) in float32, load the same weights and export that. Received: {shape=}"
    if height is None or width is None:
        raise ValueError(f"An exported model has one image size: build the model with {static}")
    halves = sorted({layer.compute_dtype for layer in backbone_of(model).layers} - {"float32"})
    if halves:
        raise ValueError(f"An exported model computes in float32: build it with {static}, dtypes={halves}")
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise ValueError(
            "Exporting needs Keras on TensorFlow: set KERAS_BACKEND=tensorflow, the weights files are the same. "
            f"Received: backend={backend!r}"
        )
    return height, width, channels
