"""Masks in the image's pixels are those of TF Model Garden, which resizes with OpenCV."""

from __future__ import annotations

import numpy as np
from official.vision.ops.mask_ops import paste_instance_masks

from spinenet_tf.evaluation.pasting import PROBABILITY, paste_mask

SIZE = (120, 160)


def random_detections(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return smooth maps `[N, 28, 28]`, and boxes `[N, 4]` yxyx of all sizes, some of which exceed the image."""
    waves = rng.normal(size=(count, 7, 7)).repeat(4, axis=1).repeat(4, axis=2) + rng.normal(0, 0.3, (count, 28, 28))
    corners = rng.uniform(-30, SIZE, (count, 2))
    sizes = np.exp(rng.uniform(np.log(0.5), np.log(150), (count, 2)))
    maps, boxes = 1 / (1 + np.exp(-waves)), np.concatenate([corners, corners + sizes], axis=1)
    return maps.astype(np.float32), boxes.astype(np.float32)


def paste(maps: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the masks `[N, h, w]` bool of this package and of TF Model Garden."""
    xywh = np.concatenate([boxes[:, [1, 0]], boxes[:, [3, 2]] - boxes[:, [1, 0]]], axis=1)
    ours = [paste_mask(one, box, *SIZE).decode() for one, box in zip(maps, boxes, strict=True)]
    return np.stack(ours), paste_instance_masks(maps, xywh, *SIZE).astype(bool)


def test_masks_are_pasted_to_the_same_pixels() -> None:
    ours, theirs = paste(*random_detections(np.random.default_rng(0), 500))
    assert theirs.any(axis=(1, 2)).mean() > 0.7
    np.testing.assert_array_equal(ours, theirs)


def test_maps_of_zeros_and_ones_are_pasted_to_the_same_pixels() -> None:
    """Many of their pixels are exactly at the threshold, where the last bit decides."""
    maps, boxes = random_detections(np.random.default_rng(1), 200)
    ours, theirs = paste((maps > PROBABILITY).astype(np.float32), np.round(boxes))
    assert (ours != theirs).sum() < 1e-3 * theirs.sum()
