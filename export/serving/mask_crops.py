"""Cut the masks of boxes that end in the padding of an input where the image ends."""

from __future__ import annotations

from typing import Any


def masks_within(masks: Any, whole: Any, boxes: Any) -> Any:
    """Return `masks [B, M, R, R]` of the boxes `whole [B, M, 4]`, resampled to cover `boxes`, their upper left parts.

    Sampling is bilinear, at the centers of the cells.
    """
    import tensorflow as tf

    sides, kept = whole[..., 2:] - whole[..., :2], boxes[..., 2:] - boxes[..., :2]
    share = tf.math.divide_no_nan(kept, sides)  # [B, M, 2]; boxes without an area are not cut
    rows, columns = (
        _weights(tf.where(sides[..., axis] > 0, share[..., axis], 1.0), masks.shape[-1]) for axis in (0, 1)
    )
    return tf.matmul(tf.matmul(rows, masks), columns, transpose_b=True)


def _weights(share: Any, count: int) -> Any:
    """Return the weights `[B, M, count, count]` of `count` values at as many places in their first `share [B, M]`."""
    import tensorflow as tf

    values = tf.range(count, dtype=tf.float32)
    places = tf.clip_by_value((values + 0.5) * share[..., None] - 0.5, 0.0, count - 1.0)
    return tf.nn.relu(1.0 - tf.abs(places[..., None] - values))
