"""Proposals of a region proposal network (RPN): its best boxes, without overlapping ones (Ren 2015, section 3.3)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from keras import ops

from spinenet_tf.ops.anchors import per_anchor
from spinenet_tf.ops.boxes import Tensor, pick
from spinenet_tf.ops.decoding import Candidates, Nms, decode_and_clip, greedy_nms, take


def propose(
    logits: Mapping[str, Tensor],
    deltas: Mapping[str, Tensor],
    anchors: Mapping[str, Tensor],
    height: int | Tensor,
    width: int | Tensor,
    *,
    level_top_k: int,
    iou_threshold: float,
    count: int,
    plus_one: bool = False,
    nms: Nms | None = None,
) -> Tensor:
    """Return the proposals `[B, count, 4]` for images of `height` x `width` pixels, yxyx pixels, best first.

    `logits` {"P3": `[B, h, w, A]`, ...} and `deltas` {"P3": `[B, h, w, A * 4]`, ...} are raw outputs, `anchors` {"P3":
    `[h * w * A, 4]`, ...} yxyx pixels. The best `level_top_k` boxes of each level are clipped to the image. A box is
    dropped if a better one of its level overlaps it with an IoU of at least `iou_threshold`, or if clipping leaves only
    zeros. The best `count` of all levels are kept; where fewer remain, the last rows are zeros. `plus_one` is that of
    `detections`; `nms` replaces `greedy_nms`. No gradient flows through the proposals.
    """
    levels = sorted(logits, key=lambda name: int(name.removeprefix("P")))
    best = [_best_of_level(logits[name], deltas[name], anchors[name], level_top_k) for name in levels]
    pool = _joined(best, height, width, plus_one)
    kept = (nms or greedy_nms)(pool, just_below(iou_threshold), count)
    return ops.stop_gradient(take(pool, kept)["boxes"])


def just_below(iou_threshold: float) -> float:
    """Return the largest float32 below a threshold: NMS drops boxes above its threshold, here those at it too."""
    return float(np.nextafter(np.float32(iou_threshold), np.float32(-1.0)))


def _best_of_level(logits: Tensor, deltas: Tensor, anchors: Tensor, top_k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the logits `[B, K]`, deltas and anchors `[B, K, 4]` of the best anchors of a level, best first."""
    scores = ops.cast(per_anchor({"P0": logits}, 1)[..., 0], "float32")
    best, index = ops.top_k(scores, min(top_k, anchors.shape[0]))
    return best, pick(per_anchor({"P0": deltas}, 4), index), ops.take(anchors, index, axis=0)


def _joined(
    levels: list[tuple[Tensor, Tensor, Tensor]], height: int | Tensor, width: int | Tensor, plus_one: bool
) -> Candidates:
    """Join the candidates of all levels by score. Their class is their level, so that NMS is per level."""
    sizes = [logits.shape[1] for logits, _, _ in levels]
    logits, deltas, anchors = (ops.concatenate(parts, axis=1) for parts in zip(*levels, strict=True))
    boxes, scores = decode_and_clip(deltas, anchors, height, width, plus_one), ops.sigmoid(logits)
    # A box that is clipped to the first corner looks like a row that is not used, and does not count either.
    scores = ops.where(ops.any(boxes > 0, axis=-1), scores, 0.0)
    level = np.repeat(np.arange(len(sizes), dtype="int32"), sizes)
    scores, index = ops.top_k(scores, sum(sizes))
    return Candidates(pick(boxes, index), scores, ops.take(level, index))
