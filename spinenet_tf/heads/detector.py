"""The base class of detectors: a net with raw outputs, losses, and detections as predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from spinenet_tf._fast.replicas import replica_count
from spinenet_tf.heads.checked import CheckedModel
from spinenet_tf.heads.ground_truth import check_shapes, image_weights
from spinenet_tf.heads.head import Decoding, ImageSize, Raw
from spinenet_tf.heads.model import check_classes
from spinenet_tf.nets.backbone import Backbone
from spinenet_tf.nets.dtype import Dtype, dtype_scope
from spinenet_tf.nets.options import Options, option

MAX_DETECTIONS = 1 << 30


@dataclass(frozen=True)
class DetectionOptions(Options):
    """The options that all detectors have."""

    score_threshold: float = option(0.05, 0, 1)  # detections score above this
    max_detections: int = option(100, 1, MAX_DETECTIONS)  # maximum number of detections per image


class DetectionModel(CheckedModel):
    """A detector from images `[B, H, W, 3]` to raw outputs; train it with `compile(optimizer)` and `fit`.

    Images are normalized, or pixels in 0..255 if the backbone has `include_preprocessing`. `predict` returns
    detections. `fit` and `evaluate` take `(images, {"boxes": [B, N, 4], "classes": [B, N]})` and
    optional weights of the images. Boxes are yxyx in pixels of the network's input; classes are 0..num_classes - 1, or
    -1 for padding.

    A head is a subclass that defines `outputs_of`, `losses_of` and the attributes below. `dtype` is the head's dtype
    policy, by default that of the backbone; losses and detections are always computed in float32.

    Raises:
        ValueError: `num_classes` is not positive, or an invalid `dtype`.
    """

    options: DetectionOptions
    loss_names: tuple[str, ...]  # the losses that `losses_of` returns; each is logged
    decoding: Decoding

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        options: DetectionOptions | None = None,
        name: str | None = None,
        dtype: Dtype = None,
    ):
        check_classes("detector", num_classes)
        chosen = options or self.options_type()
        images = keras.Input(backbone.image_shape, name="images")
        with dtype_scope(backbone.dtype_policy if dtype is None else dtype):
            raw = self.outputs_of(backbone, images, num_classes, chosen)
            super().__init__(inputs=images, outputs=raw, name=name or self.head)
        self._equip(backbone, num_classes, chosen)

    def _equip(self, backbone, num_classes, options) -> None:
        super()._equip(backbone, num_classes, options)
        for loss in self.loss_names:
            setattr(self, loss, keras.metrics.Mean(loss))

    @staticmethod
    def outputs_of(backbone: Backbone, images: Any, num_classes: int, options: Any) -> dict[str, dict[str, Any]]:
        """Return the raw outputs for `images`: {output: {"P3": `[B, h, w, K]`, ...}}."""
        raise NotImplementedError

    def losses_of(
        self, raw: Raw, truth: Mapping[str, Any], image_size: ImageSize, weights: Any | None, training: bool = True
    ) -> dict[str, Any]:
        """Return the losses by name: scalars whose mean over the replicas is the loss of the whole batch.

        `truth` has the keys `truth_keys`; `weights [B]` weight the images. `training` is for heads with layers that run
        after targets were chosen.
        """
        raise NotImplementedError

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Return the sum of the head's losses and the regularization, a scalar; track the losses as metrics.

        `sample_weight` `[B]`, or Keras's dictionary of equal arrays, weights the images.

        Raises:
            GroundTruthError: see `ground_truth.check_shapes`.
        """
        check_shapes(y, sample_weight, self.truth_keys)
        losses = self.losses_of(y_pred, y, ops.shape(x)[1:3], image_weights(sample_weight), training)
        for name in self.loss_names:
            getattr(self, name).update_state(losses[name])
        return sum(self.losses, sum(losses.values())) / replica_count()

    def flatten(self, raw: Raw) -> tuple:
        """Concatenate the raw outputs of all levels, class logits first: see `Decoding.flatten`."""
        return tuple(self.decoding.flatten(raw, self.options).values())

    def detect(self, images, raw: Raw) -> dict[str, Any]:
        """Decode the raw outputs for `images [B, H, W, 3]` to detections: see `ops.decoding.detections`."""
        return self.decoding.decode(raw, self.options, tuple(ops.shape(images)[1:3]))

    def predict_step(self, *given):
        """Return the detections of one batch, for `predict` and `predict_on_batch`.

        On JAX, a step also returns its new state.
        """
        found = super().predict_step(*given)
        raw, *state = found if keras.backend.backend() == "jax" else (found,)
        images, _, _ = keras.utils.unpack_x_y_sample_weight(given[-1])
        detections = self.detect(images, keras.tree.map_structure(lambda x: ops.cast(x, "float32"), raw))
        return (detections, *state) if state else detections

    def predict(self, x, *args, **kwargs) -> dict[str, Any]:
        """Detect objects in images `[B, H, W, 3]`, with the arguments of `keras.Model.predict`.

        Returns NumPy arrays: "boxes" `[B, M, 4]` yxyx in pixels of the network's input, "scores" `[B, M]`, "classes"
        `[B, M]` (-1 = padding) and "num_detections" `[B]`.
        """
        return super().predict(x, *args, **kwargs)
