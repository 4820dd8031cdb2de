from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from spinenet_tf.ops.anchors import AnchorSpec, anchors
from spinenet_tf.ops.boxes import clip, decode, iou
from spinenet_tf.ops.proposals import propose

HEIGHT, WIDTH = 64, 96
SPEC = AnchorSpec(max_level=5, num_scales=1)
ANCHORS = anchors(HEIGHT, WIDTH, SPEC)
LIMITS = {"level_top_k": 150, "iou_threshold": 0.7, "count": 60}


def outputs(seed: int, batch: int = 1) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return the raw outputs of an RPN."""
    rng, logits, deltas = np.random.default_rng(seed), {}, {}
    for level in (3, 4, 5):
        rows, columns = (-(-side // 2**level) for side in (HEIGHT, WIDTH))
        logits[f"P{level}"] = rng.normal(-2, 2, (batch, rows, columns, 3)).astype("float32")
        deltas[f"P{level}"] = rng.normal(0, 0.3, (batch, rows, columns, 12)).astype("float32")
    return logits, deltas


def proposed(logits: Any, deltas: Any, **limits: Any) -> np.ndarray:
    return ops.convert_to_numpy(propose(logits, deltas, ANCHORS, HEIGHT, WIDTH, **LIMITS | limits))


def published(
    logits: dict, deltas: dict, level_top_k: int, iou_threshold: float, count: int, plus_one: bool = False
) -> np.ndarray:
    """Return the proposals of one image: NMS in each level, then the best of all levels."""
    found, ends = [], np.array([0, 0, plus_one, plus_one], "float32")
    for name, level_anchors in ANCHORS.items():
        scores = logits[name].ravel()
        boxes = decode(deltas[name].reshape(-1, 4), level_anchors + ends) - ends
        boxes = clip(boxes, HEIGHT - plus_one, WIDTH - plus_one)
        boxes, kept = ops.convert_to_numpy(boxes), []
        overlaps = ops.convert_to_numpy(iou(boxes, boxes))
        for n in np.argsort(-scores, kind="stable")[:level_top_k]:
            if boxes[n].any() and not any(overlaps[n, k] >= np.float32(iou_threshold) for k in kept):
                kept.append(n)
        found += [(scores[n], *boxes[n]) for n in kept]
    best = np.array(sorted(found, key=lambda row: -row[0])[:count])[:, 1:]
    return np.pad(best, ((0, count - len(best)), (0, 0)))


@pytest.mark.parametrize(
    ("seed", "limits"),
    [(0, {}), (1, {"level_top_k": 20}), (2, {"iou_threshold": 0.3}), (3, {"count": 300}), (0, {"plus_one": True})],
)
def test_proposals_are_those_of_the_published_protocol(seed: int, limits: dict[str, Any]) -> None:
    raw = outputs(seed)
    expected = published(*raw, **LIMITS | limits)
    assert len(np.unique(expected, axis=0)) > 20
    np.testing.assert_allclose(proposed(*raw, **limits)[0], expected, atol=1e-4)


def test_a_batch_is_proposed_as_its_images_are() -> None:
    logits, deltas = outputs(4, batch=3)
    batched = proposed(logits, deltas)
    for i in range(3):
        alone = proposed(*({name: x[i : i + 1] for name, x in maps.items()} for maps in (logits, deltas)))
        np.testing.assert_allclose(batched[i], alone[0], atol=1e-5)


def only(cells: list[tuple[int, int]], shift: tuple[float, float] = (0.0, 0.0), **limits: Any) -> np.ndarray:
    """Return the proposals if only the square anchors of these cells of P3 score, the first shifted by (y, x) px."""
    logits, deltas = outputs(0)
    for name in logits:
        logits[name][:], deltas[name][:] = -200.0, 0.0  # scores that round to 0
    for rank, cell in enumerate(cells):
        logits["P3"][0, *cell, 1] = 5.0 - rank
    deltas["P3"][0, *cells[0], 4:6] = np.array(shift) / 24  # relative to the side
    return proposed(logits, deltas, **limits)[0]


def test_a_box_at_the_threshold_is_dropped() -> None:
    cells = [(3, 3), (3, 5), (4, 3)]  # the IoUs with the first are 0.2 and exactly 0.5
    boxes = [[16, 16, 40, 40], [16, 32, 40, 56], [24, 16, 48, 40]]
    np.testing.assert_array_equal(only(cells, iou_threshold=0.5)[:3], [*boxes[:2], [0] * 4])
    np.testing.assert_array_equal(only(cells, iou_threshold=0.51)[:3], boxes)


def test_a_box_that_is_clipped_to_the_first_corner_leaves_no_row() -> None:
    found = only([(0, 0), (3, 3)], shift=(-100.0, -100.0))
    np.testing.assert_array_equal(found[0], [16, 16, 40, 40])
    np.testing.assert_array_equal(found[1:], np.zeros((len(found) - 1, 4)))


def test_half_precision_outputs_are_decoded_in_float32() -> None:
    half = [{name: ops.cast(x, "bfloat16") for name, x in maps.items()} for maps in outputs(0)]
    full = [{name: ops.cast(x, "float32") for name, x in maps.items()} for maps in half]
    np.testing.assert_array_equal(proposed(*half), proposed(*full))


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="computes a gradient with TensorFlow")
def test_no_gradient_flows_through_proposals() -> None:
    import tensorflow as tf

    logits, deltas = ({name: tf.Variable(x) for name, x in maps.items()} for maps in outputs(0))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(propose(logits, deltas, ANCHORS, HEIGHT, WIDTH, **LIMITS))
    assert tape.gradient(total, [*logits.values(), *deltas.values()]) == [None] * 6
