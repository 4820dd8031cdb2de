"""Target assignment: what each anchor should predict, given the ground truth (paper, section 5)."""

from __future__ import annotations

from typing import NamedTuple

from keras import ops

from spinenet_tf._fast.compilation import is_compiled_by_xla
from spinenet_tf.ops.boxes import Tensor, encode, iou, pick

POSITIVE_IOU = 0.5  # an anchor below this IoU with every ground truth box is background; no anchor is ignored
OVERLAPS = 2**20  # the number of IoUs to compute at once: 4 MB for each operation


class Assignment(NamedTuple):
    """Hold the training targets of a batch of B images with N anchors each."""

    class_targets: Tensor  # [B, N] int32, -1 = background
    box_targets: Tensor  # [B, N, 4] float32 (ty, tx, th, tw), 0 where not positive
    positive: Tensor  # [B, N] bool
    overlap: Tensor  # [B, N] float32, the largest IoU with any box


def assign(anchors: Tensor, boxes: Tensor, classes: Tensor, positive_iou: float = POSITIVE_IOU) -> Assignment:
    """Match `anchors [N, 4]` to ground truth `boxes [B, M, 4]` (both yxyx pixels) of `classes [B, M]` (-1 = padding).

    An anchor is positive if its IoU with any box is at least `positive_iou`; it is matched to the box of largest IoU.
    Each box also claims the anchor that it overlaps most, however little. A claim takes precedence over the threshold;
    if several boxes claim one anchor, the first in the list wins. Padding and boxes without area match nothing,
    whatever their coordinates, and M may be 0. No gradient flows through the targets.
    """
    boxes, classes = _with_background_row(boxes, classes)
    targets = (_assign_all if is_compiled_by_xla() else _assign_positives)(anchors, boxes, classes, positive_iou)
    return Assignment(*(ops.stop_gradient(target) for target in targets))


def _assign_all(anchors: Tensor, boxes: Tensor, classes: Tensor, positive_iou: float) -> Assignment:
    """Compute targets for every anchor: shapes are static for XLA, which fuses the B * M * N IoUs. M >= 1."""
    largest = _largest(boxes, anchors)
    claims, positive = _claims_and_positives(largest, positive_iou)
    class_targets, box_targets = _targets(anchors, boxes, classes, claims)
    return Assignment(
        ops.where(positive, class_targets, -1),
        ops.where(positive[..., None], box_targets, 0.0),
        positive,
        largest.anchor_iou,
    )


def _assign_positives(anchors: Tensor, boxes: Tensor, classes: Tensor, positive_iou: float) -> Assignment:
    """Compute the same for positive anchors only, a few in a thousand: without XLA, a pass over all of them costs."""
    boxes, classes = _without_unused_rows(boxes, classes)
    largest = _largest_by_chunks(boxes, anchors)
    claims, positive = _claims_and_positives(largest, positive_iou)
    image, anchor = (ops.cast(index, "int32") for index in ops.nonzero(positive))  # [P]
    claim = ops.take(ops.reshape(claims, (-1,)), image * ops.shape(anchors)[0] + anchor)
    # Each positive anchor is treated as an image with one anchor.
    own_boxes, own_classes = (ops.take(x, image, axis=0) for x in (boxes, classes))
    own_anchors = ops.take(anchors, anchor, axis=0)[:, None]
    class_targets, box_targets = _targets(own_anchors, own_boxes, own_classes, claim[:, None])
    place = ops.stack([image, anchor], axis=-1)
    # Not `ops.scatter`, which is a Python loop on PyTorch.
    return Assignment(
        ops.scatter_update(ops.full_like(claims, -1), place, class_targets[:, 0]),
        ops.scatter_update(ops.zeros((*ops.shape(positive), 4), "float32"), place, box_targets[:, 0]),
        positive,
        largest.anchor_iou,
    )


def _targets(anchors: Tensor, boxes: Tensor, classes: Tensor, claims: Tensor) -> tuple[Tensor, Tensor]:
    """Return class targets `[B, N]` and box targets `[B, N, 4]` of `anchors [..., N, 4]`, as if all were positive."""
    match = ops.where(claims >= 0, claims, ops.argmax(_bits(iou(boxes, anchors)), axis=1))
    return pick(classes[..., None], match)[..., 0], encode(pick(boxes, match), anchors)


class _Largest(NamedTuple):
    """Hold the largest IoUs; ties go to the first."""

    anchor: Tensor  # [B, M] int32, the best anchor of each box
    box_iou: Tensor  # [B, M] float32, the IoU of each box with its best anchor
    anchor_iou: Tensor  # [B, N] float32, the IoU of each anchor with its best box


def _largest(boxes: Tensor, anchors: Tensor) -> _Largest:
    """Return the largest IoUs of `boxes [B, M, 4]` and `anchors [N, 4]`."""
    overlap = iou(boxes, anchors)  # [B, M, N]
    return _Largest(ops.argmax(_bits(overlap), axis=2), ops.max(overlap, axis=2), ops.max(overlap, axis=1))


def _largest_by_chunks(boxes: Tensor, anchors: Tensor) -> _Largest:
    """Compute the same in chunks of anchors that fit the CPU's cache, instead of a dozen tensors of B * M * N."""
    count, pairs = ops.shape(anchors)[0], ops.shape(boxes)[0] * ops.shape(boxes)[1]  # pairs per anchor
    chunks = -(-count // ops.maximum(OVERLAPS // pairs, 1))
    size = -(-count // chunks)  # equal chunks: a nearly empty last one would cost as much as a full one
    starts = ops.arange(0, count, size, dtype="int32")

    def in_chunk(start: Tensor) -> _Largest:
        index = ops.minimum(start + ops.arange(size, dtype="int32"), count - 1)  # repeats of the last are cut off below
        largest = _largest(boxes, ops.take(anchors, index, axis=0))
        return largest._replace(anchor=start + largest.anchor)

    chunks = ops.map(in_chunk, starts)  # each field has a leading dimension of chunks
    best = ops.argmax(_bits(chunks.box_iou), axis=0)[None]
    anchor, box_iou = (ops.take_along_axis(x, best, axis=0)[0] for x in (chunks.anchor, chunks.box_iou))
    anchor_iou = ops.reshape(ops.swapaxes(chunks.anchor_iou, 0, 1), (ops.shape(boxes)[0], -1))[:, :count]
    return _Largest(anchor, box_iou, anchor_iou)


def _without_unused_rows(boxes: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Remove the trailing rows of `boxes [B, M, 4]` that are padding in all images; keep at least one row."""
    is_used = ops.any(boxes != 0, axis=(0, 2))
    rows = ops.max(ops.where(is_used, ops.arange(ops.shape(boxes)[1], dtype="int32"), 0)) + 1
    return boxes[:, :rows], classes[:, :rows]


def _with_background_row(boxes: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Set padding boxes to 0, and append one row of padding, so that M is at least 1."""
    classes = ops.cast(classes, "int32")
    boxes = ops.where(classes[..., None] >= 0, ops.cast(boxes, "float32"), 0.0)
    return ops.pad(boxes, ((0, 0), (0, 1), (0, 0))), ops.pad(classes, ((0, 0), (0, 1)), constant_values=-1)


def _bits(overlap: Tensor) -> Tensor:
    """Return the bits of non-negative floats as int32, which have the same order."""
    # On TF, Keras adds passes to the argmax of floats that take 5 x its own time. `ops.view` needs a static last
    # dimension.
    return ops.squeeze(ops.view(ops.expand_dims(overlap, -1), "int32"), -1)


def _claims_and_positives(largest: _Largest, positive_iou: float) -> tuple[Tensor, Tensor]:
    """Return the first box that claims each anchor, `[B, N]` int32 (-1 = none), and which anchors are positive."""
    claims = _claims(largest.anchor, largest.box_iou > 0, ops.shape(largest.anchor_iou)[1])
    return claims, (claims >= 0) | (largest.anchor_iou >= positive_iou)


def _claims(best_anchor: Tensor, valid: Tensor, num_anchors: int | Tensor) -> Tensor:
    """Return the first valid row of `best_anchor [B, M]` that contains each anchor: `[B, N]` int32, -1 = none."""
    batch, rows = ops.shape(best_anchor)
    # A segment maximum, because the minimum of `ops.scatter_update` is a Python loop on PyTorch; of floats, because an
    # anchor without a box is -inf there.
    image = num_anchors * ops.arange(batch, dtype="int32")[:, None]
    order = ops.where(valid, ops.arange(rows, 0, -1, dtype="float32"), 0.0)  # largest for the first row
    segments = ops.reshape(image + best_anchor, (-1,))
    largest = ops.segment_max(ops.reshape(order, (-1,)), segments, batch * num_anchors)
    first = rows - ops.cast(ops.maximum(largest, 0.0), "int32")
    return ops.reshape(ops.where(first < rows, first, -1), (batch, num_anchors))
