"""The operations of Mask R-CNN equal Model Garden's: ROI align, box coder, proposals, samplers, losses, detections."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from official.vision.modeling.layers.roi_generator import MultilevelROIGenerator
from official.vision.ops import anchor, box_ops, spatial_transform_ops
from parity import record, relative

from spinenet_tf.ops.anchors import AnchorSpec, anchors
from spinenet_tf.ops.boxes import decode, encode
from spinenet_tf.ops.proposals import propose
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


SIDE, PER_CELL = 256, 3
LEVELS = range(3, 8)
SPEC = AnchorSpec(num_scales=1)


def maps(rng: np.random.Generator, values: int, mean: float, deviation: float, batch: int = 2) -> dict[str, tf.Tensor]:
    """Return random outputs of an RPN of Model Garden."""
    shapes = {level: (batch, SIDE // 2**level, SIDE // 2**level, PER_CELL * values) for level in LEVELS}
    return {str(level): tf.constant(rng.normal(mean, deviation, shape), tf.float32) for level, shape in shapes.items()}


def ours(levels: dict) -> dict:
    return {f"P{level}": x for level, x in levels.items()}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("deviation", "count"), [(0.2, 1000), (3.0, 300)])
def test_proposals(training: bool, deviation: float, count: int) -> None:
    rng = np.random.default_rng(2)
    logits, deltas = maps(rng, 1, -2.0, 2.0), maps(rng, 4, 0.0, deviation)
    garden_anchors = anchor.build_anchor_generator(3, 7, 1, [0.5, 1.0, 2.0], 3.0)((SIDE, SIDE))
    garden_anchors = {level: tf.tile(x[None], (2, 1, 1, 1)) for level, x in garden_anchors.items()}
    sides = tf.constant([[SIDE, SIDE]] * 2, tf.float32)
    generator = MultilevelROIGenerator(num_proposals=count, test_num_proposals=count)
    expected, _ = generator(deltas, logits, garden_anchors, sides, training=training)
    limits = {"level_top_k": 2000 if training else 1000, "iou_threshold": 0.7, "count": count}
    got = propose(ours(logits), ours(deltas), anchors(SIDE, SIDE, SPEC), SIDE, SIDE, **limits)
    piece = f"proposals, {'training' if training else 'inference'}, {count} of deltas of {deviation}"
    assert np.asarray(got).any(axis=-1).mean() > 0.4
    record("Mask R-CNN", piece, relative(got, expected), 1e-6)
