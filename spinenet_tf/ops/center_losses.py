"""Losses of "Objects as Points" (Zhou 2019, arXiv 1904.07850, section 3): focal on heatmaps, L1 at the centers."""

from __future__ import annotations

from keras import ops

from spinenet_tf.ops.boxes import Tensor, pick
from spinenet_tf.ops.heatmaps import CenterTargets
from spinenet_tf.ops.losses import focal_terms, weighted_sum


def penalty_reduced_focal_loss(logits: Tensor, heatmap: Tensor, alpha: float, beta: float) -> Tensor:
    """Return the focal loss of `logits [B, H, W, C]`, summed over the classes: `[B, H, W]` float32.

    Cells where `heatmap` is 1 are positive. All others are negative and weighted by `(1 - heatmap) ** beta`, which is
    small near a center. `alpha` reduces the loss of cells that are already right. The published code clips
    probabilities to 1e-4..1 - 1e-4, beyond which gradients are 0; here nothing is clipped.
    """
    logits, heatmap = (ops.cast(x, "float32") for x in (logits, heatmap))
    is_center = ops.equal(heatmap, 1.0)
    losses, _ = focal_terms(ops.where(is_center, -logits, logits), alpha)
    return ops.sum(losses * ops.where(is_center, 1.0, (1.0 - heatmap) ** beta), axis=-1)


def point_losses(
    heatmap: Tensor,
    sizes: Tensor,
    offsets: Tensor,
    targets: CenterTargets,
    focal_alpha: float,
    focal_beta: float,
    size_weight: float,
    offset_weight: float,
    normalizer: Tensor | None = None,
    weights: Tensor | None = None,
) -> dict[str, Tensor]:
    """Return {"heatmap_loss", "size_loss", "offset_loss"}, three float32 scalars whose sum is the loss to minimize.

    `heatmap [B, H, W, C]` holds logits; `sizes` and `offsets [B, H, W, 2]` count only at the centers of objects. Each
    loss is a sum over the batch divided by `normalizer`, by default the number of objects, at least 1. The L1 losses
    are sums over both coordinates, as in the paper and in Model Garden; the authors' code takes their mean, which is
    half. `weights [B]` weight each image in the losses and in the number of objects.
    """
    if normalizer is None:
        normalizer = ops.maximum(object_count(targets, weights), 1.0)
    cell_losses = penalty_reduced_focal_loss(heatmap, targets.heatmap, focal_alpha, focal_beta)
    cell_losses = ops.reshape(cell_losses, (ops.shape(cell_losses)[0], -1))
    return {
        "heatmap_loss": weighted_sum(cell_losses, weights) / normalizer,
        "size_loss": size_weight * _l1_at_centers(sizes, targets.sizes, targets, weights) / normalizer,
        "offset_loss": offset_weight * _l1_at_centers(offsets, targets.offsets, targets, weights) / normalizer,
    }


def object_count(targets: CenterTargets, weights: Tensor | None = None) -> Tensor:
    """Return the number of objects in a batch, weighted by `weights [B]`: a float32 scalar."""
    return weighted_sum(ops.cast(targets.is_object, "float32"), weights)


def _l1_at_centers(values: Tensor, expected: Tensor, targets: CenterTargets, weights: Tensor | None) -> Tensor:
    batch, rows, columns, width = ops.shape(values)
    found = pick(ops.reshape(values, (batch, rows * columns, width)), targets.cells)
    error = ops.sum(ops.abs(ops.cast(found, "float32") - expected), axis=-1)
    return weighted_sum(ops.where(targets.is_object, error, 0.0), weights)
