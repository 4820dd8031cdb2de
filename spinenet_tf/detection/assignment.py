"""Target assignment: what each anchor has to predict, given the ground truth (paper section 5)."""

from __future__ import annotations

from typing import NamedTuple

from keras import ops

from spinenet_tf.detection.boxes import Tensor, encode, iou

POSITIVE_IOU = 0.5  # an anchor below it with every ground truth is background: there is no ignored zone between


class Assignment(NamedTuple):
    """Hold the training targets of a batch of B images with N anchors each."""

    class_targets: Tensor  # [B, N] int32, -1 = background
    box_targets: Tensor  # [B, N, 4] float32 (ty, tx, th, tw), 0 where not positive
    positive: Tensor  # [B, N] bool


def assign(anchors: Tensor, boxes: Tensor, classes: Tensor) -> Assignment:
    """Assign `anchors [N, 4]` to ground truth `boxes [B, M, 4]` (both yxyx pixels) of `classes [B, M]` (-1 = padding).

    An anchor is positive if its IoU with some ground truth is at least `POSITIVE_IOU`; it takes the one of largest
    IoU. Each ground truth that overlaps any anchor also claims the anchor of largest IoU, however small, and a claim
    goes before the threshold; of several claims to one anchor the first in the list wins. Padding rows and boxes
    without area match nothing, whatever their coordinates are, and M may be 0. No gradient flows through the targets.
    """
    boxes, classes = _with_background_row(boxes, classes)
    overlap = iou(boxes, anchors)  # [B, M + 1, N]
    rank = _bits(overlap)
    claims = _claims(ops.argmax(rank, axis=2), ops.max(overlap, axis=2) > 0, ops.shape(anchors)[0])
    claimed = claims >= 0
    positive = claimed | (ops.max(overlap, axis=1) >= POSITIVE_IOU)  # [B, N]
    match = ops.where(claimed, claims, ops.argmax(rank, axis=1))
    matched_boxes = ops.take_along_axis(boxes, match[..., None], axis=1)  # [B, N, 4]
    # Background is coded as the anchor itself, for its match may have no area; compiled, that is only nearly 0.
    box_targets = encode(ops.where(positive[..., None], matched_boxes, anchors), anchors)
    box_targets = ops.where(positive[..., None], box_targets, 0.0)
    class_targets = ops.where(positive, ops.take_along_axis(classes, match, axis=1), -1)
    return Assignment(*(ops.stop_gradient(target) for target in (class_targets, box_targets, positive)))


def _with_background_row(boxes: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Give padding no area, and append one row of it: there is always a row to match, even if M is 0."""
    classes = ops.cast(classes, "int32")
    boxes = ops.where(classes[..., None] >= 0, ops.cast(boxes, "float32"), 0.0)
    return ops.pad(boxes, ((0, 0), (0, 1), (0, 0))), ops.pad(classes, ((0, 0), (0, 1)), constant_values=-1)


def _bits(overlap: Tensor) -> Tensor:
    """Return the bits of non-negative floats as int32, which sort alike."""
    # On TF, Keras guards the argmax of floats by passes that take 5 x its own time. `ops.view` needs a static last
    # dimension.
    return ops.squeeze(ops.view(ops.expand_dims(overlap, -1), "int32"), -1)


def _claims(best_anchor: Tensor, valid: Tensor, num_anchors: int | Tensor) -> Tensor:
    """Return the first valid row of `best_anchor [B, M]` that names each anchor: `[B, N]` int32, -1 = no row."""
    batch, rows = ops.shape(best_anchor)
    # Without a dtype, arange counts in int64 where Keras computes in float64.
    image = ops.broadcast_to(ops.arange(batch, dtype="int32")[:, None], (batch, rows))
    updates = ops.where(valid, ops.arange(rows, dtype="int32"), rows)
    indices = ops.stack([image, best_anchor], axis=-1)
    first = ops.scatter_update(
        ops.broadcast_to(rows, (batch, num_anchors)),
        ops.reshape(indices, (-1, 2)),
        ops.reshape(updates, (-1,)),
        reduction="min",
    )
    return ops.where(first < rows, first, -1)
