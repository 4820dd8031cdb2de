"""The five losses of Mask R-CNN (Ren 2015; He 2017), each a float32 scalar, normalized as in Model Garden.

Each loss is a sum over the batch divided by a count. `weights [B]` weight each image in both. Where TensorFlow divides
a batch among replicas, the count is the mean over the replicas, so that the mean of the losses is that of the batch.
"""

from __future__ import annotations

from collections.abc import Mapping

from keras import ops

from spinenet_tf._fast.replicas import replica_count, sum_over_replicas
from spinenet_tf.ops.anchors import per_anchor
from spinenet_tf.ops.boxes import Tensor, pick
from spinenet_tf.ops.losses import huber_loss, weighted_sum
from spinenet_tf.ops.roi_sampling import AnchorTargets

# Targets that are all smaller than this do not count in the loss of the RPN's boxes, as in Model Garden: an anchor that
# is equal to its box teaches nothing about how to move it.
SMALLEST_TARGET = 1e-6


def rpn_score_loss(
    logits: Mapping[str, Tensor], labels: Tensor, normalizer: float, weights: Tensor | None = None
) -> Tensor:
    """Return the binary cross-entropy of `logits` {"P3": `[B, h, w, A]`, ...} and `labels [B, N]` of `AnchorTargets`.

    It is a sum over the sampled anchors, divided by the number of images times `normalizer`: the number of samples per
    image, or, in Model Garden's task, the number of sampled ROIs, which halves the loss.
    """
    logits = ops.cast(per_anchor(logits, 1)[..., 0], "float32")
    losses = ops.where(labels >= 0, _cross_entropy(logits, ops.cast(labels, "float32")), 0.0)
    return _per_image(ops.sum(losses, axis=1), weights) / normalizer


def rpn_box_loss(
    deltas: Mapping[str, Tensor], targets: AnchorTargets, delta: float, weights: Tensor | None = None
) -> Tensor:
    """Return the Huber loss of `deltas` {"P3": `[B, h, w, A * 4]`, ...} at all positive anchors, sampled or not.

    The mean is over the coordinates of each level, so an anchor counts more on a level with few positives.
    """
    total, start = 0.0, 0
    for level in sorted(deltas, key=lambda name: int(name.removeprefix("P"))):
        found = per_anchor({level: deltas[level]}, 4)
        end = start + found.shape[1]
        expected = targets.box_targets[:, start:end]
        counted = ops.any(ops.abs(expected) > SMALLEST_TARGET, axis=-1)
        total, start = total + _of_counted(huber_loss(found, expected, delta), counted, 4, weights), end
    return total


def class_loss(class_logits: Tensor, classes: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the mean softmax cross-entropy of `class_logits [B, S, C]` and `classes [B, S]`, where 0 is background."""
    losses = ops.sparse_categorical_crossentropy(classes, ops.cast(class_logits, "float32"), from_logits=True)
    return _per_image(ops.mean(losses, axis=1), weights)


def box_loss(
    box_deltas: Tensor, box_targets: Tensor, classes: Tensor, delta: float, weights: Tensor | None = None
) -> Tensor:
    """Return the mean Huber loss of the deltas of each positive ROI's class, and `box_targets [B, S, 4]`.

    `box_deltas [B, S, C * 4]` are class-major; `classes [B, S]` are 0 for background, which does not count.
    """
    batch, rois, values = ops.shape(box_deltas)
    channel = ops.arange(rois, dtype="int32") * (values // 4) + ops.cast(classes, "int32")
    found = pick(ops.reshape(box_deltas, (batch, rois * (values // 4), 4)), channel)
    return _of_counted(huber_loss(found, box_targets, delta), classes > 0, 4, weights)


def mask_loss(mask_logits: Tensor, masks: Tensor, classes: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the mean binary cross-entropy of `mask_logits` and `masks`, both `[B, K, size, size]`, of positive ROIs.

    `masks` in 0..1 may be soft; `classes [B, K]` are 0 for background, which does not count.
    """
    cells = mask_logits.shape[2] * mask_logits.shape[3]
    losses = _cross_entropy(ops.cast(mask_logits, "float32"), ops.cast(masks, "float32"))
    return _of_counted(ops.mean(losses, axis=(2, 3)), classes > 0, cells, weights)


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    return ops.softplus(logits) - logits * targets


def _of_counted(losses: Tensor, counted: Tensor, values: int, weights: Tensor | None) -> Tensor:
    """Return the mean of the `losses [B, N]` that are `counted [B, N]`, each itself a mean of so many `values`."""
    total = weighted_sum(ops.where(counted, losses, 0.0), weights)
    count = weighted_sum(ops.cast(counted, "float32"), weights)
    # Model Garden adds 0.01 to the number of values, so that the loss of a batch without positives is 0.
    return values * total / (values * _mean_over_replicas(count) + 0.01)


def _per_image(losses: Tensor, weights: Tensor | None) -> Tensor:
    """Return the mean of `losses [B]`, or their weighted mean."""
    weights = ops.ones_like(losses) if weights is None else ops.cast(weights, "float32")
    return ops.divide_no_nan(ops.sum(losses * weights), _mean_over_replicas(ops.sum(weights)))


def _mean_over_replicas(value: Tensor) -> Tensor:
    return sum_over_replicas(value) / replica_count()
