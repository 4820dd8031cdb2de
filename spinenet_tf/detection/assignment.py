"""Target assignment: what each anchor has to predict, given the ground truth (paper section 5)."""

from __future__ import annotations

from typing import NamedTuple

from keras import ops

from spinenet_tf.base import runs_op_by_op
from spinenet_tf.detection.boxes import Tensor, iou, log_form, pick, relative

POSITIVE_IOU = 0.5  # an anchor below it with every ground truth is background: there is no ignored zone between
OVERLAPS = 2**20  # of boxes and anchors, computed at once: 4 MB for each operation on them


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
    best = _best_matches(boxes, anchors)
    claims = _claims(best.anchor, best.box_iou > 0, ops.shape(anchors)[0])
    claimed = claims >= 0
    positive = claimed | (best.anchor_iou >= POSITIVE_IOU)  # [B, N]
    match = ops.where(claimed, claims, best.box)
    # A log for each box, not for each anchor. That of a box without area is not finite, but such a box matches nothing.
    box_targets = relative(pick(log_form(boxes), match), anchors)  # [B, N, 4]
    box_targets = ops.where(positive[..., None], box_targets, 0.0)
    class_targets = ops.where(positive, pick(classes[..., None], match)[..., 0], -1)
    return Assignment(*(ops.stop_gradient(target) for target in (class_targets, box_targets, positive)))


class _Matches(NamedTuple):
    """Hold what overlaps most; of equals the first."""

    anchor: Tensor  # [B, M] int32, of each box
    box_iou: Tensor  # [B, M] float32, of each box with its anchor
    box: Tensor  # [B, N] int32, of each anchor
    anchor_iou: Tensor  # [B, N] float32, of each anchor with its box


def _best_matches(boxes: Tensor, anchors: Tensor) -> _Matches:
    """Match `boxes [B, M, 4]` and `anchors [N, 4]` with each other, M >= 1."""
    if runs_op_by_op():
        return _best_matches_in_chunks(boxes, anchors)
    overlap = iou(boxes, anchors)  # [B, M, N]
    rank = _bits(overlap)
    return _Matches(
        ops.argmax(rank, axis=2), ops.max(overlap, axis=2), ops.argmax(rank, axis=1), ops.max(overlap, axis=1)
    )


def _best_matches_in_chunks(boxes: Tensor, anchors: Tensor) -> _Matches:
    """Do the same where all anchors at once would be a dozen tensors of B * M * N: chunks of them stay in the cache."""
    boxes = boxes[:, : _used_rows(boxes)]
    count, pairs = ops.shape(anchors)[0], ops.shape(boxes)[0] * ops.shape(boxes)[1]  # with one anchor
    chunks = -(-count // ops.maximum(OVERLAPS // pairs, 1))
    size = -(-count // chunks)  # alike for all: a last one that is nearly empty would cost as much as a full one
    starts = ops.arange(0, count, size, dtype="int32")

    def match(start: Tensor) -> _Matches:
        index = ops.minimum(start + ops.arange(size, dtype="int32"), count - 1)  # what repeats the last is cut off
        overlap = iou(boxes, ops.take(anchors, index, axis=0))
        box, anchor_iou = _first_largest(overlap)
        return _Matches(start + ops.argmax(_bits(overlap), axis=2), ops.max(overlap, axis=2), box, anchor_iou)

    chunks = ops.map(match, starts)  # each with a leading dimension
    best = ops.argmax(_bits(chunks.box_iou), axis=0)[None]
    anchor, box_iou = (ops.take_along_axis(x, best, axis=0)[0] for x in (chunks.anchor, chunks.box_iou))
    flat = (ops.shape(boxes)[0], -1)
    box, anchor_iou = (ops.reshape(ops.swapaxes(x, 0, 1), flat)[:, :count] for x in (chunks.box, chunks.anchor_iou))
    return _Matches(anchor, box_iou, box, anchor_iou)


def _used_rows(boxes: Tensor) -> Tensor:
    """Return how many rows of `[B, M, 4]` there are up to the last that is not padding in all images, at least 1."""
    is_used = ops.any(boxes != 0, axis=(0, 2))
    return ops.max(ops.where(is_used, ops.arange(ops.shape(boxes)[1], dtype="int32"), 0)) + 1


def _first_largest(overlap: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first row of the largest of each column of `[B, M, N]`, and the largest; TF's argmax takes longer."""
    largest = ops.max(overlap, axis=1)
    last = ops.shape(overlap)[1] - 1
    rows_behind = last - ops.arange(last + 1, dtype="int32")[:, None]
    return last - ops.max(ops.cast(overlap == largest[:, None], "int32") * rows_behind, axis=1), largest


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
