"""The properties of a Keras model that exports and engines need: head, task, backbone and static image size."""

from __future__ import annotations

import keras

from spinenet_tf.heads.head import Head
from spinenet_tf.heads.model import HeadModel
from spinenet_tf.heads.table import find_head
from spinenet_tf.nets.backbone import Backbone
from spinenet_tf.training.quantization import QuantizationAware


def head_of(model: keras.Model) -> Head | None:
    """Return the head of a model from the table of heads; None for a backbone.

    Raises:
        ValueError: the model is not from this package.
    """
    if isinstance(model, Backbone):
        return None
    if isinstance(model, HeadModel):
        return find_head(model.head)
    raise ValueError(f"Only models of spinenet_tf can be exported. Received: model={type(model).__name__}")


def task_of(model: keras.Model) -> str:
    """Return the task of a model's head, or "backbone"; raises as `head_of` does."""
    head = head_of(model)
    return head.task if head else "backbone"


def detects(model: keras.Model) -> bool:
    """Return whether a model detects objects; raises as `head_of` does."""
    head = head_of(model)
    return head is not None and head.detects


def selects(model: keras.Model) -> bool:
    """Return whether a model's net selects the detections itself; raises as `head_of` does."""
    head = head_of(model)
    return head is not None and head.selects


def backbone_of(model: keras.Model) -> Backbone:
    """Return the backbone of a detector or classifier, or the backbone itself."""
    return model if isinstance(model, Backbone) else model.backbone


def exported_form(model: keras.Model) -> tuple[keras.Model, str]:
    """Return a model of normalized images in float32 with the same weights, and the type of its files' inputs.

    These are the model itself or a copy, and "float32", or "uint8" if the model takes pixels.
    """
    if isinstance(model, QuantizationAware) or not getattr(model, "include_preprocessing", False):
        return in_float32(model), "float32"
    return model.with_changes(include_preprocessing=False, dtype="float32"), "uint8"


def in_float32(model: keras.Model) -> keras.Model:
    """Return a model that computes in float32: the model itself, or a copy of it with the same weights."""
    ours = isinstance(model, (Backbone, HeadModel))  # others are refused elsewhere
    return model.with_dtype("float32") if ours and _other_dtypes(model) else model


def image_shape(model: keras.Model) -> tuple[int, int, int]:
    """Return `(H, W, 3)` of a model that can be exported.

    Raises:
        ValueError: height or width is dynamic, the net does not compute in float32 (see `in_float32`), or the model is
            quantization-aware; the message says what to do.
    """
    if isinstance(model, QuantizationAware):
        raise ValueError(f"Export the `detector` of a quantization-aware model. Received: model={model.name!r}")
    height, width, channels = shape = backbone_of(model).image_shape
    if height is None or width is None:
        raise ValueError(
            "An exported model needs a static image size: build the model with a static input_shape=(H, W, 3), load "
            f"the same weights and export that. Received: {shape=}"
        )
    if others := _other_dtypes(model):
        raise ValueError(f'An exported model must compute in float32: use with_dtype("float32"). Received: {others}')
    return height, width, channels


def _other_dtypes(model: keras.Model) -> list[str]:
    """Return the dtypes other than float32 that layers compute in."""
    return sorted({layer.compute_dtype for part in (backbone_of(model), model) for layer in part.layers} - {"float32"})


def check_backend(needed: str = "tensorflow") -> None:
    """Check that Keras runs on the backend that an exporter needs.

    Raises:
        ValueError: it runs on another one; the message says what to do.
    """
    backend = keras.backend.backend()
    if backend != needed:
        raise ValueError(
            f"This needs Keras's {needed} backend: set KERAS_BACKEND={needed}, build the same model and load its "
            f"weights, whose files work with every backend. Received: backend={backend!r}"
        )
