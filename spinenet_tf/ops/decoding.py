"""Decoding: from the raw outputs of a detector to detections, by class-aware greedy NMS (paper, section 5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from keras import ops

from spinenet_tf.ops.boxes import Tensor, Weights, clip, decode, iou, pick

BLOCK = 128  # the number of candidates that NMS handles at once


class Candidates(NamedTuple):
    """Hold the K best (anchor, class) pairs of each of B images, by descending score."""

    boxes: Tensor  # [B, K, 4] float32 yxyx pixels, clipped to the image
    scores: Tensor  # [B, K] float32, 0 where not above the threshold
    classes: Tensor  # [B, K] int32


# (candidates, IoU threshold, maximum number of detections) to the indices that `greedy_nms` returns.
Nms = Callable[[Candidates, float, int], Tensor]


def detections(
    class_logits: Tensor,
    box_deltas: Tensor,
    anchors: Tensor,
    height: int | Tensor,
    width: int | Tensor,
    *,
    score_threshold: float,
    iou_threshold: float,
    max_detections: int,
    pre_nms_top_k: int,
    background: bool = False,
    plus_one: bool = False,
    nms: Nms | None = None,
) -> dict[str, Tensor]:
    """Return the detections in images of `height` x `width` pixels, best first.

    `class_logits [B, N, C]` and `box_deltas [B, N, 4]` are raw outputs, `anchors [N, 4]` yxyx pixels. A detection
    scores above `score_threshold`, and no better detection of its class overlaps it with an IoU above `iou_threshold`.
    With `background`, class 0 means no object and is never detected. With `plus_one`, the corners of anchors and boxes
    are inclusive, as in the TF1 zoo: a side is one larger than the difference of its corners. `nms` replaces
    `greedy_nms`.

    The published protocol keeps the best `pre_nms_top_k` candidates of each class, runs NMS per class and keeps the
    best `max_detections` of all. Here one pool holds the best `pre_nms_top_k` candidates of all classes, in descending
    order of scores. The detections are the same, because classes do not suppress each other. The protocol finds more
    only if fewer than `max_detections` of the pool survive and pairs above the threshold are left outside.

    Returns:
        {"boxes": `[B, M, 4]` float32 yxyx pixels, clipped to the image (before NMS), "scores": `[B, M]` float32,
        "classes": `[B, M]` int32, "num_detections": `[B]` int32} with M = `max_detections`; slots past
        `num_detections` are 0 with class -1.

    Raises:
        ValueError: outputs and anchors differ in their static N.
    """
    _check_same_anchors(class_logits, box_deltas, anchors)
    logits, anchor, classes = best_pairs(class_logits, pre_nms_top_k, background)
    boxes = decode_and_clip(pick(box_deltas, anchor), ops.take(anchors, anchor, axis=0), height, width, plus_one)
    candidates = Candidates(boxes, ops.sigmoid(logits), classes)
    return keep(candidates, score_threshold, iou_threshold, max_detections, nms or greedy_nms)


def decoded(
    class_logits: Tensor,
    box_deltas: Tensor,
    anchors: Tensor,
    height: int | Tensor,
    width: int | Tensor,
    plus_one: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return the clipped boxes `[B, N, 4]` and the scores `[B, N, C]` of all anchors; see `detections`."""
    _check_same_anchors(class_logits, box_deltas, anchors)
    return decode_and_clip(box_deltas, anchors, height, width, plus_one), ops.sigmoid(ops.cast(class_logits, "float32"))


def select(
    boxes: Tensor,
    scores: Tensor,
    *,
    score_threshold: float,
    iou_threshold: float,
    max_detections: int,
    pre_nms_top_k: int,
    background: bool = False,
) -> dict[str, Tensor]:
    """Return the same as `detections`, from the boxes and scores that `decoded` returns."""
    best, anchor, classes = best_pairs(scores, pre_nms_top_k, background)
    candidates = Candidates(pick(boxes, anchor), best, classes)
    return keep(candidates, score_threshold, iou_threshold, max_detections, greedy_nms)


def keep(
    candidates: Candidates,
    score_threshold: float,
    iou_threshold: float,
    max_detections: int,
    nms: Nms,
) -> dict[str, Tensor]:
    """Return the candidates that score above the threshold and that NMS keeps, in the format of `detections`."""
    scores = ops.where(candidates.scores > score_threshold, candidates.scores, 0.0)
    candidates = candidates._replace(scores=scores)
    return take(candidates, nms(candidates, iou_threshold, max_detections))


def decode_and_clip(
    deltas: Tensor,
    anchors: Tensor,
    height: int | Tensor,
    width: int | Tensor,
    plus_one: bool = False,
    weights: Weights | None = None,
) -> Tensor:
    """Decode `deltas [..., 4]` relative to `anchors [..., 4]` to clipped boxes: see `detections` and `boxes.decode`."""
    ends = ops.array([0.0, 0.0, 1.0, 1.0]) * float(plus_one)  # turns inclusive corners into exclusive ones
    return clip(decode(deltas, anchors + ends, weights) - ends, height - int(plus_one), width - int(plus_one))


def _check_same_anchors(class_logits: Tensor, box_deltas: Tensor, anchors: Tensor) -> None:
    # Some devices clamp an index past the end or return zeros: without this check, boxes would be silently wrong.
    counts = {class_logits.shape[1], box_deltas.shape[1], anchors.shape[0]} - {None}
    if len(counts) > 1:
        raise ValueError(
            "Class logits, box deltas and anchors must have the same number of anchors. "
            f"Received: shapes {class_logits.shape}, {box_deltas.shape} and {anchors.shape}"
        )


def best_pairs(values: Tensor, top_k: int, background: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Return the `top_k` largest of `values [B, N, C]` of each image, and their anchors and classes."""
    values = values[..., int(background) :]
    # The best k pairs belong to the k anchors whose top class scores best, so most pairs need no sorting.
    anchor = ops.top_k(ops.cast(ops.max(values, axis=-1), "float32"), _at_most(top_k, ops.shape(values)[1]))[1]
    values = ops.cast(pick(values, anchor), "float32")
    batch, num_anchors, num_classes = ops.shape(values)
    pairs = ops.reshape(values, (batch, num_anchors * num_classes))
    best, pair = ops.top_k(pairs, _at_most(top_k, num_anchors * num_classes))
    return best, ops.take_along_axis(anchor, pair // num_classes, axis=1), pair % num_classes + int(background)


def _at_most(limit: int, size: int | Tensor) -> int | Tensor:
    return min(limit, size) if isinstance(size, int) else ops.minimum(limit, size)


def greedy_nms(candidates: Candidates, iou_threshold: float, max_detections: int) -> Tensor:
    """Return the indices `[B, M]` int32 of the candidates that greedy NMS keeps, in order; -1 past the last.

    Candidates with a score of 0 do not count, wherever they are.
    """
    # A block of candidates is handled at once: one at a time, a hundred detections are a hundred passes over the pool.
    batch, pool = ops.shape(candidates.scores)
    last = ops.max(ops.where(candidates.scores > 0, ops.arange(pool, dtype="int32"), -1), axis=1)  # [B]

    def some_remain(start: Tensor, count: Tensor, kept: Tensor) -> Tensor:
        return ops.any((count < max_detections) & (start <= last))

    def keep_of_block(start: Tensor, count: Tensor, kept: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        index = start + ops.arange(BLOCK, dtype="int32")
        block = Candidates(*(ops.take(x, ops.minimum(index, pool - 1), axis=1) for x in candidates))
        alive = (index < pool) & (block.scores > 0) & ~_any_suppresses(candidates, kept, block, iou_threshold)
        survives = _greedy(block, alive, iou_threshold)  # [B, T]
        slot = count[:, None] + ops.cumsum(ops.cast(survives, "int32"), axis=1) - 1
        is_slot = survives[:, None] & (slot[:, None] == ops.arange(max_detections, dtype="int32")[:, None])  # [B, M, T]
        kept = ops.maximum(kept, ops.max(ops.where(is_slot, index, -1), axis=2))
        return start + BLOCK, count + ops.sum(ops.cast(survives, "int32"), axis=1), kept

    none_kept = ops.broadcast_to(ops.cast(-1, "int32"), (batch, max_detections))
    start, count = ops.cast(0, "int32"), ops.zeros_like(none_kept[:, 0])
    return ops.while_loop(some_remain, keep_of_block, (start, count, none_kept))[2]


def _any_suppresses(candidates: Candidates, kept: Tensor, block: Candidates, iou_threshold: float) -> Tensor:
    """Return which candidates of a block are suppressed by one of `kept [B, M]`: `[B, T]` bool."""
    index = ops.maximum(kept, 0)
    boxes, classes = pick(candidates.boxes, index), pick(candidates.classes[..., None], index)
    same = (kept >= 0)[..., None] & (classes == block.classes[:, None])
    return ops.any(same & (iou(boxes, block.boxes) > iou_threshold), axis=1)


def _greedy(block: Candidates, alive: Tensor, iou_threshold: float) -> Tensor:
    """Return which of the candidates `alive [B, T]` of a block greedy NMS keeps.

    A candidate is kept if no kept candidate suppresses it. The rule is applied to all candidates at once until nothing
    changes; after n rounds at least the first n are those of greedy NMS.
    """
    order = ops.arange(BLOCK, dtype="int32")
    same = block.classes[:, :, None] == block.classes[:, None]
    suppresses = (order[:, None] < order) & same & (iou(block.boxes, block.boxes) > iou_threshold)  # [B, T, T]

    # The loop carries whether something changed, not the earlier value: tf2onnx 1.17 would mix both up.
    def again(_: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
        now = alive & ~ops.any(suppresses & kept[:, :, None], axis=1)
        return ops.any(now != kept), now

    return ops.while_loop(lambda changed, _: changed, again, (ops.any(alive), alive))[1]


def take(candidates: Candidates, kept: Tensor) -> dict[str, Tensor]:
    """Return the candidates with the indices `kept [B, M]` (-1 past the last), in the format of `detections`."""
    valid, kept = kept >= 0, ops.maximum(kept, 0)
    boxes = ops.take_along_axis(candidates.boxes, kept[..., None], axis=1)
    scores = ops.take_along_axis(candidates.scores, kept, axis=1)
    classes = ops.take_along_axis(candidates.classes, kept, axis=1)
    return {
        "boxes": ops.where(valid[..., None], boxes, 0.0),
        "scores": ops.where(valid, scores, 0.0),
        "classes": ops.where(valid, classes, -1),
        "num_detections": ops.sum(ops.cast(valid, "int32"), axis=1),
    }
