"""Choose what Mask R-CNN learns from: anchors, regions of interest (ROIs) and masks (Ren 2015; He 2017)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import keras
from keras import ops

from spinenet_tf.ops.anchors import concatenate
from spinenet_tf.ops.assignment import assign
from spinenet_tf.ops.boxes import Tensor, iou, pick


class AnchorTargets(NamedTuple):
    """Hold what the RPN should predict at N anchors of B images, from the finest level to the coarsest."""

    labels: Tensor  # [B, N] int32: 1 for positives, 0 for negatives, -1 for anchors that were not sampled
    box_targets: Tensor  # [B, N, 4] float32 (ty, tx, th, tw), 0 where not positive
    positive: Tensor  # [B, N] bool, also those that were not sampled


class RoiTargets(NamedTuple):
    """Hold S sampled ROIs of B images and what the box head should predict for them."""

    rois: Tensor  # [B, S, 4] float32 yxyx pixels
    boxes: Tensor  # [B, S, 4] float32 yxyx pixels, the box of the matched object; 0 if background
    classes: Tensor  # [B, S] int32, 0 = background
    index: Tensor  # [B, S] int32, the row of the matched object, -1 = background


class MaskTargets(NamedTuple):
    """Hold the K ROIs of B images that the mask head learns from, and their masks."""

    rois: Tensor  # [B, K, 4] float32 yxyx pixels
    classes: Tensor  # [B, K] int32, 0 = background, which does not count
    masks: Tensor  # [B, K, size, size] float32 in 0..1, what a mask covers of each cell of the ROI; 0 if background


def sample_anchors(
    anchors: Mapping[str, Tensor],
    boxes: Tensor,
    classes: Tensor,
    *,
    positive_iou: float,
    negative_iou: float,
    samples: int,
    positive_share: float,
    seed: keras.random.SeedGenerator,
) -> AnchorTargets:
    """Label `anchors` {"P3": `[N3, 4]`, ...} for ground truth `boxes [B, M, 4]` of `classes [B, M]` (-1 = padding).

    Boxes are yxyx pixels. Anchors are positive as in `ops.assignment.assign`, from `positive_iou` on. An anchor that is
    not positive and whose IoUs are all below `negative_iou` is negative. Of each image, `samples` anchors get a label,
    at random: at most `positive_share` of them are positive, the rest is negative.
    """
    all_anchors = concatenate(anchors)
    found = assign(all_anchors, boxes, classes, positive_iou)
    negative = ~found.positive & (found.overlap < negative_iou)
    order = keras.random.uniform(ops.shape(negative), seed=seed)
    count = min(samples, all_anchors.shape[0])
    positives = _first(found.positive, order, min(int(samples * positive_share), count))
    negatives = _first(negative, order, count, samples - ops.sum(ops.cast(positives, "int32"), axis=1))
    labels = ops.where(positives, 1, ops.where(negatives, 0, -1))
    return AnchorTargets(ops.cast(labels, "int32"), found.box_targets, found.positive)


def _first(eligible: Tensor, order: Tensor, count: int, limit: Tensor | None = None) -> Tensor:
    """Return which of the `eligible [B, N]` are the first `count`, or `limit [B]` if fewer, in a random `order`."""
    key, index = ops.top_k(ops.where(eligible, order + 1.0, 0.0), count)
    is_first = key > 0.0
    if limit is not None:
        is_first &= ops.arange(count, dtype="int32") < limit[:, None]
    image = ops.broadcast_to(ops.arange(ops.shape(index)[0], dtype="int32")[:, None], ops.shape(index))
    place = ops.reshape(ops.stack([image, ops.cast(index, "int32")], axis=-1), (-1, 2))
    none = ops.zeros(ops.shape(eligible), "int32")
    return ops.scatter_update(none, place, ops.reshape(ops.cast(is_first, "int32"), (-1,))) > 0


def sample_rois(
    proposals: Tensor,
    boxes: Tensor,
    classes: Tensor,
    *,
    samples: int,
    positive_share: float,
    positive_iou: float,
    seed: keras.random.SeedGenerator,
) -> RoiTargets:
    """Sample ROIs among `proposals [B, N, 4]` and ground truth `boxes [B, M, 4]` of `classes [B, M]`, yxyx pixels.

    Classes start at 1, because 0 is the background; -1 = padding. A ROI is positive if its IoU with any box is at least
    `positive_iou`; it is matched to the box of largest IoU. Others are background, as proposals that are zeros are. Of
    each image, `samples` ROIs are chosen at random, or all if there are fewer: at most `positive_share` of them are
    positive, the rest is background. Only if there is not enough background, more positives follow, and then padding.
    """
    is_object = classes >= 0
    boxes = ops.where(is_object[..., None], ops.cast(boxes, "float32"), 0.0)
    rois = ops.concatenate([proposals, boxes], axis=1)
    overlap = iou(rois, boxes)  # [B, N + M, M], 0 with padding
    positive = ops.max(overlap, axis=2) >= positive_iou
    is_roi = ops.concatenate([ops.ones_like(proposals[..., 0], "bool"), is_object], axis=1)
    order = keras.random.uniform(ops.shape(positive), seed=seed)
    count = min(samples, rois.shape[1])
    first = _first(positive, order, int(count * positive_share))
    rank = ops.where(first, 3.0, ops.where(is_roi & ~positive, 2.0, ops.where(positive, 1.0, 0.0)))
    index = ops.top_k(rank + 0.5 * order, count)[1]
    match = ops.where(positive, ops.cast(ops.argmax(overlap, axis=2), "int32"), -1)
    return _roi_targets(pick(rois, index), boxes, classes, _pick_values(match, index))


def _roi_targets(rois: Tensor, boxes: Tensor, classes: Tensor, match: Tensor) -> RoiTargets:
    """Return the targets of `rois [B, S, 4]` that are matched to the rows `match [B, S]` (-1 = none) of `boxes`."""
    positive, row = match >= 0, ops.maximum(match, 0)
    own_boxes = ops.where(positive[..., None], pick(boxes, row), 0.0)
    own_classes = ops.where(positive, _pick_values(ops.cast(classes, "int32"), row), 0)
    return RoiTargets(*map(ops.stop_gradient, (rois, own_boxes, own_classes, match)))


def _pick_values(x: Tensor, index: Tensor) -> Tensor:
    """Return the values `index [B, K]` of each image of `x [B, N]`: `[B, K]`."""
    return pick(x[..., None], index)[..., 0]


def sample_masks(targets: RoiTargets, masks: Tensor, *, samples: int, size: int) -> MaskTargets:
    """Choose at most `samples` of the ROIs, positives first, and crop the masks of their objects to them.

    `masks [B, M, S, S]` in 0..1 cover the ground truth boxes. A crop has `size` x `size` bilinear samples at the
    centers of its cells, and is 0 outside of the object's box. As in Model Garden, a sample's coordinate in the mask is
    not shifted by half a cell.
    """
    count = targets.classes.shape[1]
    place = ops.arange(count, dtype="int32")  # in the order of the ROIs: of equal values, PyTorch takes any
    index = ops.top_k(ops.where(targets.classes > 0, 0, -count) - place, min(samples, count))[1]
    rois, boxes = (pick(x, index) for x in (targets.rois, targets.boxes))
    classes, match = (_pick_values(x, index) for x in (targets.classes, targets.index))
    batch, rows, side = ops.shape(masks)[:3]
    own = pick(ops.reshape(masks, (batch, rows, side * side)), ops.maximum(match, 0))
    own = ops.reshape(ops.cast(own, "float32"), (*ops.shape(match), side, side))
    down, across = (_interpolation(rois, boxes, axis, size, side) for axis in (0, 1))  # [B, K, size, side]
    crops = ops.matmul(ops.matmul(down, own), ops.swapaxes(across, -1, -2))
    crops = ops.where((classes > 0)[..., None, None], crops, 0.0)
    return MaskTargets(*map(ops.stop_gradient, (rois, classes, crops)))


def _interpolation(rois: Tensor, boxes: Tensor, axis: int, size: int, side: int) -> Tensor:
    """Return how much each of `side` mask cells counts at each of `size` samples of an axis: `[B, K, size, side]`."""
    start, length = boxes[..., axis], ops.maximum(boxes[..., axis + 2] - boxes[..., axis], 1e-8)
    first = (rois[..., axis] - start) * side / length  # in cells of the mask
    covered = (rois[..., axis + 2] - rois[..., axis]) * side / length
    bins = ops.arange(size, dtype="float32") + 0.5
    position = first[..., None] + bins * covered[..., None] / size
    return ops.relu(1.0 - ops.abs(position[..., None] - ops.arange(side, dtype="float32")))
