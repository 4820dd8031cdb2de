"""Center heatmaps of "Objects as Points" (Zhou 2019, arXiv 1904.07850): training targets and decoding."""

from __future__ import annotations

from typing import NamedTuple

from keras import ops

from spinenet_tf.ops.boxes import Tensor, clip, pick
from spinenet_tf.ops.decoding import Candidates, best_pairs, take

RADII = ("published", "exact")


class CenterTargets(NamedTuple):
    """Hold the training targets of a batch of B images with M boxes each, on a map of H x W cells."""

    heatmap: Tensor  # [B, H, W, C] float32 in 0..1, 1 at the centers
    sizes: Tensor  # [B, M, 2] float32 (height, width) in cells
    offsets: Tensor  # [B, M, 2] float32 (y, x) in 0..1, of a center within its cell
    cells: Tensor  # [B, M] int32, row * W + column
    is_object: Tensor  # [B, M] bool; where False, sizes, offsets and cells are 0


def center_targets(
    boxes: Tensor,
    classes: Tensor,
    rows: int | Tensor,
    columns: int | Tensor,
    num_classes: int,
    stride: int,
    min_overlap: float,
    radius: str,
) -> CenterTargets:
    """Return the training targets for `boxes [B, M, 4]` (yxyx pixels) of `classes [B, M]` (-1 = padding).

    The map has `rows` x `columns` cells of `stride` x `stride` pixels. Each object is a Gaussian around its cell;
    where Gaussians of one class overlap, the largest value counts. Padding, boxes without area and boxes whose center
    is outside the map are not objects, whatever their coordinates; M may be 0. No gradient flows through the targets.
    """
    classes = ops.cast(classes, "int32")
    boxes = ops.where(classes[..., None] >= 0, ops.cast(boxes, "float32"), 0.0) / stride
    sizes, centers = boxes[..., 2:] - boxes[..., :2], 0.5 * (boxes[..., :2] + boxes[..., 2:])
    corner, limit = ops.floor(centers), ops.cast(ops.stack([rows, columns]), "float32")
    is_object = (classes >= 0) & ops.all((corner >= 0) & (corner < limit) & (sizes > 0), axis=-1)
    sizes, corner, offsets = (ops.where(is_object[..., None], x, 0.0) for x in (sizes, corner, centers - corner))
    deviation = (2.0 * ops.floor(gaussian_radius(sizes, min_overlap, radius)) + 1.0) / 6.0
    down, across = (_bell(size, corner[..., axis], deviation) for axis, size in enumerate((rows, columns)))
    splats = ops.where(is_object[..., None], down, 0.0)[..., None] * across[..., None, :]  # [B, M, H, W]
    row, column = (ops.cast(corner[..., axis], "int32") for axis in (0, 1))
    targets = (_merged(splats, classes, num_classes), sizes, offsets, row * columns + column, is_object)
    return CenterTargets(*(ops.stop_gradient(target) for target in targets))


def gaussian_radius(sizes: Tensor, min_overlap: float, kind: str) -> Tensor:
    """Return how far both corners of a box can move diagonally while its IoU stays at `min_overlap` or more.

    `sizes [..., 2]` are heights and widths; the result `[...]` has the same unit. The "exact" radius is this one. The
    "published" radius, which all published nets were trained with, is 3.3 times as large: its code forgets to divide
    by the first coefficient of a quadratic equation.

    Raises:
        ValueError: the kind is unknown.
    """
    if kind not in RADII:
        raise ValueError(f"`radius` must be one of {RADII}. Received: radius={kind!r}")
    height, width = sizes[..., 0], sizes[..., 1]
    total, loss = height + width, (1.0 - min_overlap) * height * width
    # Of the three cases (shifted, inside, outside) the same one always gives the smallest radius: outside for
    # "published", inside for "exact". The roots avoid a difference, which would lose precision.
    if kind == "exact":
        return ops.divide_no_nan(loss, total + ops.sqrt(ops.relu(total**2 - 4.0 * loss)))
    return ops.divide_no_nan(4.0 * loss, total + ops.sqrt(total**2 + 4.0 * loss / min_overlap))


def _bell(count: int | Tensor, center: Tensor, deviation: Tensor) -> Tensor:
    """Return the values `[B, M, count]` of Gaussians with these centers and deviations, along one axis."""
    distance = ops.arange(count, dtype="float32") - center[..., None]
    return ops.exp(-0.5 * (distance / deviation[..., None]) ** 2)


def _merged(splats: Tensor, classes: Tensor, num_classes: int) -> Tensor:
    """Return the maximum of `splats [B, M, H, W]` over the boxes of each class: `[B, H, W, num_classes]`."""
    # A segment maximum, because one map for each pair of box and class would be hundreds of MB.
    batch, boxes, rows, columns = ops.shape(splats)
    image = num_classes * ops.arange(batch, dtype="int32")
    segments = ops.reshape(image[:, None] + ops.maximum(classes, 0), (-1,))
    flat = ops.reshape(splats, (batch * boxes, rows * columns))
    merged = ops.maximum(ops.segment_max(flat, segments, batch * num_classes), 0.0)  # -inf for classes without a box
    return ops.transpose(ops.reshape(merged, (batch, num_classes, rows, columns)), (0, 2, 3, 1))


def center_detections(
    heatmap: Tensor,
    sizes: Tensor,
    offsets: Tensor,
    height: int | Tensor,
    width: int | Tensor,
    stride: int,
    score_threshold: float,
    max_detections: int,
) -> dict[str, Tensor]:
    """Return the detections in images of `height` x `width` pixels, best first: the peaks, without NMS.

    See `decoded_centers` and `select_centers` for the arguments, `ops.decoding.detections` for the result.
    """
    return select_centers(
        *decoded_centers(heatmap, sizes, offsets, height, width, stride), score_threshold, max_detections
    )


def decoded_centers(
    heatmap: Tensor, sizes: Tensor, offsets: Tensor, height: int | Tensor, width: int | Tensor, stride: int
) -> tuple[Tensor, Tensor]:
    """Return the clipped boxes `[B, N, 4]` (yxyx pixels) and the scores `[B, N, C]` of all N cells.

    Scores are 0 in cells that are not peaks. `heatmap [B, H, W, C]` holds logits; `sizes` and `offsets [B, H, W, 2]`
    are in cells of `stride` pixels; the image has `height` x `width` pixels.
    """
    heatmap, sizes, offsets = (ops.cast(x, "float32") for x in (heatmap, sizes, offsets))
    batch, rows, columns, classes = ops.shape(heatmap)
    row = ops.broadcast_to(ops.arange(rows, dtype="float32")[:, None], (rows, columns))
    column = ops.broadcast_to(ops.arange(columns, dtype="float32"), (rows, columns))
    centers, half = ops.stack([row, column], axis=-1) + offsets, 0.5 * ops.relu(sizes)
    boxes = clip(stride * ops.concatenate([centers - half, centers + half], axis=-1), height, width)
    scores = ops.where(peaks(heatmap), ops.sigmoid(heatmap), 0.0)
    cells = rows * columns
    return ops.reshape(boxes, (batch, cells, 4)), ops.reshape(scores, (batch, cells, classes))


def select_centers(boxes: Tensor, scores: Tensor, score_threshold: float, max_detections: int) -> dict[str, Tensor]:
    """Return the best detections above `score_threshold`, from the boxes and scores that `decoded_centers` returns.

    The result has the format of `ops.decoding.detections`.
    """
    best, cell, classes = best_pairs(scores, max_detections)
    slot = ops.arange(max_detections, dtype="int32")
    count = ops.sum(ops.cast(best > score_threshold, "int32"), axis=1)  # scores are sorted
    return take(Candidates(pick(boxes, cell), best, classes), ops.where(slot < count[:, None], slot, -1))


def peaks(heatmap: Tensor) -> Tensor:
    """Return which cells of `heatmap [B, H, W, C]` are peaks, no smaller than any of their 8 neighbors: bool.

    Of equal neighbors, only the first is a peak. The published code keeps them all, but int8 and bfloat16 turn many
    peaks into plateaus. Maps have at most 2^24 cells.
    """
    values = ops.cast(heatmap, "float32")
    rows, columns = ops.shape(values)[1:3]
    is_top = ops.equal(values, _pool(values))
    # A second max-pooling finds the first of equals, because phones' engines support it.
    order = ops.reshape(ops.arange(rows * columns, 0, -1, dtype="float32"), (1, rows, columns, 1))
    order = order * ops.cast(is_top, "float32")
    return is_top & ops.equal(order, _pool(order))


def _pool(x: Tensor) -> Tensor:
    return ops.max_pool(x, 3, 1, "same", data_format="channels_last")
