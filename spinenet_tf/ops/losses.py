"""Losses of dense detectors: focal loss on classes, Huber loss on encoded boxes (paper, section 5), GIoU on boxes."""

from __future__ import annotations

from collections.abc import Callable

from keras import ops

from spinenet_tf.ops.boxes import Tensor, index_type


def focal_loss(logits: Tensor, class_targets: Tensor, alpha: float, gamma: float) -> Tensor:
    """Return the sigmoid focal loss of `logits [B, N, C]`, summed over the classes: `[B, N]` float32.

    `class_targets [B, N]` are classes 0..C-1; -1, the background, is a negative of every class. `alpha` weights
    positives and `1 - alpha` negatives; `gamma` reduces the loss of logits that are already right.
    """
    logits = ops.cast(logits, "float32")
    rows, targets = ops.reshape(logits, (-1, logits.shape[-1])), ops.reshape(class_targets, (-1,))
    return ops.reshape(_focal_loss_of_rows(rows, targets, alpha, gamma), ops.shape(class_targets))


def _focal_loss_of_rows(logits: Tensor, targets: Tensor, alpha: float, gamma: float) -> Tensor:
    """Return the focal loss `[R]` of `logits [R, C]` and `targets [R]`."""
    is_hot, column = targets >= 0, ops.maximum(ops.cast(targets, "int32"), 0)
    place = ops.cast(ops.stack([ops.arange(ops.size(column), dtype="int32"), column], axis=1), index_type(logits))

    @ops.custom_gradient
    def loss(logits: Tensor) -> tuple[Tensor, Callable]:
        # Automatic differentiation would keep every term until the backward pass, each as large as the logits, while
        # all activations of the network are in memory too. Here only the slopes are kept. All entries are computed as
        # negatives; then the one positive entry of some rows is corrected.
        losses, slopes = focal_terms(logits, gamma)
        sign = _choose(is_hot, -1.0, 1.0)
        one_loss, one_slope = focal_terms(sign * ops.take_along_axis(logits, place[:, 1:], axis=1)[:, 0], gamma)

        def gradient(*given: Tensor, upstream: Tensor | None = None) -> Tensor:
            if upstream is None:  # PyTorch passes it by name, after the inputs of `loss`
                (upstream,) = given
            one = sign * _choose(is_hot, alpha, 1.0 - alpha) * one_slope * upstream
            return ops.scatter_update(slopes * ((1.0 - alpha) * upstream)[:, None], place, one)

        negatives = ops.scatter_update(losses, place, ops.where(is_hot, 0.0, one_loss))
        return (1.0 - alpha) * ops.sum(negatives, axis=1) + alpha * ops.where(is_hot, one_loss, 0.0), gradient

    return loss(logits)


def focal_terms(wrong: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    """Return the focal loss of negatives with logits `wrong`, without alpha, and its derivative."""
    cross_entropy = ops.softplus(wrong)
    # p**gamma from log(p) = wrong - softplus(wrong), whose gradient stays finite where p rounds to 0.
    focus = ops.exp(gamma * (wrong - cross_entropy))
    return focus * cross_entropy, focus * (1.0 - ops.exp(-cross_entropy) * (1.0 - gamma * cross_entropy))


def _choose(condition: Tensor, yes: float, no: float) -> Tensor:
    """Return `yes` or `no` as float32, whatever Keras's float type is."""
    return ops.cast(ops.where(condition, yes, no), "float32")


def huber_loss(deltas: Tensor, targets: Tensor, delta: float) -> Tensor:
    """Return the Huber loss of `deltas [B, N, 4]`, the mean over the 4 coordinates: `[B, N]` float32.

    It is quadratic up to an error of `delta`, and linear with slope `delta` beyond.
    """
    error = ops.abs(ops.cast(deltas, "float32") - ops.cast(targets, "float32"))
    quadratic = ops.minimum(error, delta)
    return ops.mean(quadratic * (error - 0.5 * quadratic), axis=-1)


def giou_loss(boxes: Tensor, targets: Tensor) -> Tensor:
    """Return 1 - GIoU (Rezatofighi 2019) of boxes `[..., 4]` and targets `[..., 4]`, yxyx pixels: `[...]` in 0..2."""
    (start, end), (target_start, target_end) = (ops.split(x, 2, axis=-1) for x in (boxes, targets))
    intersection = _area(ops.maximum(start, target_start), ops.minimum(end, target_end))
    hull = _area(ops.minimum(start, target_start), ops.maximum(end, target_end))
    union = _area(start, end) + _area(target_start, target_end) - intersection
    return 1.0 - ops.divide_no_nan(intersection, union) + ops.divide_no_nan(hull - union, hull)


def _area(start: Tensor, end: Tensor) -> Tensor:
    return ops.prod(ops.relu(end - start), axis=-1)


def weighted_sum(values: Tensor, weights: Tensor | None) -> Tensor:
    """Sum `values [B, N]`, weighted by `weights [B]` per image unless they are None."""
    return ops.sum(values if weights is None else values * weights[:, None])
