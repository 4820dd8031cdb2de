"""The losses of RetinaNet: focal loss on classes, Huber loss on coded boxes (paper section 5) or GIoU on boxes."""

from __future__ import annotations

from collections.abc import Callable

from keras import ops

from spinenet_tf.detection.assignment import Assignment
from spinenet_tf.detection.boxes import Tensor, decode

BOX_LOSSES = ("huber", "giou")


def focal_loss(logits: Tensor, class_targets: Tensor, alpha: float = 0.25, gamma: float = 1.5) -> Tensor:
    """Return the sigmoid focal loss of `logits [B, N, C]`, summed over the classes: `[B, N]` float32.

    `class_targets [B, N]` are classes 0..C-1; -1, the background, is a negative of every class. `alpha` weighs
    positives and `1 - alpha` negatives; `gamma` mutes what is already right.
    """

    @ops.custom_gradient
    def loss(logits: Tensor) -> tuple[Tensor, Callable]:
        # Differentiated term by term, every term would be kept from here to the gradient, each as large as the logits:
        # at the moment when the activations of the whole network are kept too. So there are as few as possible.
        hot = class_targets[..., None] == ops.arange(logits.shape[-1], dtype="int32")  # -1 has no hot entry
        wrong = ops.where(hot, -logits, logits)  # positive where the prediction is wrong
        cross_entropy = ops.softplus(wrong)
        # p**gamma through log(p) = wrong - softplus(wrong), whose gradient stays finite where p rounds to 0.
        weight = _choose(hot, alpha, 1.0 - alpha) * ops.exp(gamma * (wrong - cross_entropy))

        def gradient(*given: Tensor, upstream: Tensor | None = None) -> Tensor:
            (upstream,) = given or (upstream,)
            slope = weight * (1.0 - ops.sigmoid(-wrong) * (1.0 - gamma * cross_entropy))
            return slope * _choose(hot, -1.0, 1.0) * upstream[..., None]

        return ops.sum(weight * cross_entropy, axis=-1), gradient

    return loss(ops.cast(logits, "float32"))


def _choose(condition: Tensor, yes: float, no: float) -> Tensor:
    """Return one of two numbers in float32, whatever Keras's own float type is."""
    return ops.cast(ops.where(condition, yes, no), "float32")


def huber_loss(deltas: Tensor, targets: Tensor, delta: float = 0.1) -> Tensor:
    """Return the Huber loss of `deltas [B, N, 4]`, the mean over the 4 coordinates: `[B, N]` float32.

    Quadratic up to an error of `delta`, linear with slope `delta` from there on.
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


def retinanet_loss(
    class_logits: Tensor,
    box_deltas: Tensor,
    anchors: Tensor,
    assignment: Assignment,
    focal_alpha: float = 0.25,
    focal_gamma: float = 1.5,
    box_loss: str = "huber",
    huber_delta: float = 0.1,
    box_weight: float = 50.0,
    normalizer: Tensor | None = None,
) -> dict[str, Tensor]:
    """Return {"class_loss", "box_loss"}, the two scalars (float32) whose sum is to be minimised.

    `class_logits [B, N, C]` count at every anchor of `anchors [N, 4]`, `box_deltas [B, N, 4]` at positive ones only,
    times `box_weight`. Both are sums over the batch divided by `normalizer`, by default its positives + 1, so that a
    batch without ground truth is finite. `box_loss` is "huber", on coded boxes, or "giou", on decoded ones, whose usual
    weight is 2.
    """
    positive = assignment.positive
    if normalizer is None:
        normalizer = ops.sum(ops.cast(positive, "float32")) + 1.0
    class_loss = focal_loss(class_logits, assignment.class_targets, focal_alpha, focal_gamma)
    if box_loss == "giou":
        box_losses = giou_loss(decode(box_deltas, anchors), decode(assignment.box_targets, anchors))
    else:
        box_losses = huber_loss(box_deltas, assignment.box_targets, huber_delta)
    return {
        "class_loss": ops.sum(class_loss) / normalizer,
        "box_loss": box_weight * ops.sum(ops.where(positive, box_losses, 0.0)) / normalizer,
    }
