"""The operations of Mask R-CNN equal Model Garden's: ROI align, box coder, proposals, samplers, losses, detections."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from official.vision.ops import box_ops, spatial_transform_ops
from parity import record, relative

from spinenet_tf.ops.boxes import decode, encode
from spinenet_tf.ops.roi_align import multilevel_roi_align

WEIGHTS = (10.0, 10.0, 5.0, 5.0)


def random_boxes(rng: np.random.Generator, shape: tuple[int, ...], low: float, high: float) -> np.ndarray:
    corners = np.sort(rng.uniform(low, high, (*shape, 2, 2)), axis=-2)
    return corners.reshape(*shape, 4).astype("float32")


@pytest.mark.parametrize("output_size", [7, 14])
@pytest.mark.parametrize("size", [(256, 384), (640, 640), (224, 224), (100, 150)])
def test_roi_align(size: tuple[int, int], output_size: int) -> None:
    rng = np.random.default_rng(0)
    shapes = {level: [2, *(-(-side // 2**level) for side in size), 5] for level in range(3, 8)}
    features = {str(level): tf.constant(rng.normal(size=shape), tf.float32) for level, shape in shapes.items()}
    boxes = np.minimum(random_boxes(rng, (2, 60), 0, max(size)), np.tile(size, 2).astype("float32"))
    boxes[0, :5] = [[0] * 4, [0, 0, 224, 224], [0, 0, 448, 448], [10, 10, 10, 90], [50, 20, 20, 80]]
    expected = spatial_transform_ops.multilevel_crop_and_resize(features, tf.constant(boxes), output_size)
    got = multilevel_roi_align({f"P{level}": x for level, x in features.items()}, boxes, output_size)
    record("Mask R-CNN", f"ROI align, {size[0]} x {size[1]} px, {output_size} bins", relative(got, expected), 1e-6)


def test_box_coder() -> None:
    rng = np.random.default_rng(1)
    boxes, anchors = random_boxes(rng, (2, 50), 0, 300), random_boxes(rng, (2, 50), 0, 300)
    deltas = encode(boxes, anchors, WEIGHTS)
    record("Mask R-CNN", "encoded boxes", relative(deltas, box_ops.encode_boxes(boxes, anchors, WEIGHTS)), 1e-6)
    wild = 3.0 * np.asarray(deltas)  # beyond the largest scale
    record(
        "Mask R-CNN",
        "decoded boxes",
        relative(decode(wild, anchors, WEIGHTS), box_ops.decode_boxes(wild, anchors, WEIGHTS)),
        1e-6,
    )
