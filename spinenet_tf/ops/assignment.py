"""Target assignment: what each anchor has to predict, given the ground truth (paper section 5)."""

from __future__ import annotations

from typing import NamedTuple

from keras import ops

from spinenet_tf._fast.compilation import is_compiled_by_xla
from spinenet_tf.ops.boxes import Tensor, encode, iou, pick

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
    targets = (_assign_all if is_compiled_by_xla() else _assign_positives)(anchors, boxes, classes)
    return Assignment(*(ops.stop_gradient(target) for target in targets))


def _assign_all(anchors: Tensor, boxes: Tensor, classes: Tensor) -> Assignment:
    """Compute targets for every anchor: shapes that XLA knows, and B * M * N overlaps that it fuses. M >= 1."""
    claims, positive = _claims_and_positives(_largest(boxes, anchors))
    class_targets, box_targets = _targets(anchors, boxes, classes, claims)
    return Assignment(
        ops.where(positive, class_targets, -1), ops.where(positive[..., None], box_targets, 0.0), positive
    )


def _assign_positives(anchors: Tensor, boxes: Tensor, classes: Tensor) -> Assignment:
    """Do the same for positive anchors alone, a few in a thousand, where each pass over all of them costs."""
    boxes, classes = _without_unused_rows(boxes, classes)
    claims, positive = _claims_and_positives(_largest_by_chunks(boxes, anchors))
    image, anchor = (ops.cast(index, "int32") for index in ops.nonzero(positive))  # [P]
    claim = ops.take(ops.reshape(claims, (-1,)), image * ops.shape(anchors)[0] + anchor)
    # Each is an image of its own, with one anchor.
    anchors, claims = ops.take(anchors, anchor, axis=0)[:, None], claim[:, None]
    boxes, classes = (ops.take(x, image, axis=0) for x in (boxes, classes))
    class_targets, box_targets = _targets(anchors, boxes, classes, claims)  # [P, 1], [P, 1, 4]
    place, shape = ops.stack([image, anchor], axis=-1), ops.shape(positive)
    background = -1  # where nothing is scattered to
    return Assignment(
        ops.scatter(place, class_targets[:, 0] - background, shape) + background,
        ops.scatter(place, box_targets[:, 0], (*shape, 4)),
        positive,
    )


def _targets(anchors: Tensor, boxes: Tensor, classes: Tensor, claims: Tensor) -> tuple[Tensor, Tensor]:
    """Return class targets `[B, N]` and box targets `[B, N, 4]` of `anchors [..., N, 4]`, all taken to be positive."""
    match = ops.where(claims >= 0, claims, ops.argmax(_bits(iou(boxes, anchors)), axis=1))
    return pick(classes[..., None], match)[..., 0], encode(pick(boxes, match), anchors)


class _Largest(NamedTuple):
    """Hold the largest overlaps; of equals the first."""

    anchor: Tensor  # [B, M] int32, of each box
    box_iou: Tensor  # [B, M] float32, of each box with its anchor
    anchor_iou: Tensor  # [B, N] float32, of each anchor with its box


def _largest(boxes: Tensor, anchors: Tensor) -> _Largest:
    """Hold `boxes [B, M, 4]` against `anchors [N, 4]`."""
    overlap = iou(boxes, anchors)  # [B, M, N]
    return _Largest(ops.argmax(_bits(overlap), axis=2), ops.max(overlap, axis=2), ops.max(overlap, axis=1))


def _largest_by_chunks(boxes: Tensor, anchors: Tensor) -> _Largest:
    """Do the same where all anchors at once would be a dozen tensors of B * M * N: chunks of them stay in the cache."""
    count, pairs = ops.shape(anchors)[0], ops.shape(boxes)[0] * ops.shape(boxes)[1]  # with one anchor
    chunks = -(-count // ops.maximum(OVERLAPS // pairs, 1))
    size = -(-count // chunks)  # alike for all: a last one that is nearly empty would cost as much as a full one
    starts = ops.arange(0, count, size, dtype="int32")

    def in_chunk(start: Tensor) -> _Largest:
        index = ops.minimum(start + ops.arange(size, dtype="int32"), count - 1)  # what repeats the last is cut off
        largest = _largest(boxes, ops.take(anchors, index, axis=0))
        return largest._replace(anchor=start + largest.anchor)

    chunks = ops.map(in_chunk, starts)  # each with a leading dimension
    best = ops.argmax(_bits(chunks.box_iou), axis=0)[None]
    anchor, box_iou = (ops.take_along_axis(x, best, axis=0)[0] for x in (chunks.anchor, chunks.box_iou))
    anchor_iou = ops.reshape(ops.swapaxes(chunks.anchor_iou, 0, 1), (ops.shape(boxes)[0], -1))[:, :count]
    return _Largest(anchor, box_iou, anchor_iou)


def _without_unused_rows(boxes: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Cut off the rows of `[B, M, 4]` behind the last that is not padding in all images; at least one stays."""
    is_used = ops.any(boxes != 0, axis=(0, 2))
    rows = ops.max(ops.where(is_used, ops.arange(ops.shape(boxes)[1], dtype="int32"), 0)) + 1
    return boxes[:, :rows], classes[:, :rows]


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


def _claims_and_positives(largest: _Largest) -> tuple[Tensor, Tensor]:
    """Return the first box that claims each anchor, `[B, N]` int32, -1 = none, and which are positive, `[B, N]`."""
    claims = _claims(largest.anchor, largest.box_iou > 0, ops.shape(largest.anchor_iou)[1])
    return claims, (claims >= 0) | (largest.anchor_iou >= POSITIVE_IOU)


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
