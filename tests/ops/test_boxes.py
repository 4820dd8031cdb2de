from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops
from pycocotools import mask

from spinenet_tf.ops.boxes import clip, decode, encode, iou


def random_boxes(rng: np.random.Generator, *shape: int) -> np.ndarray:
    corner, sides = rng.uniform(0, 80, (*shape, 2)), rng.uniform(1, 60, (*shape, 2))
    return np.concatenate([corner, corner + sides], axis=-1).astype("float32")


@st.composite
def boxes_strategy(draw: st.DrawFn) -> np.ndarray:
    y, x = (draw(st.floats(-500, 1500, width=32)) for _ in range(2))
    height, width = (draw(st.floats(16, 800, width=32)) for _ in range(2))
    return np.array([y, x, y + height, x + width], "float32")


def test_iou_is_that_of_pycocotools() -> None:
    rng = np.random.default_rng(0)
    a, b = random_boxes(rng, 40), random_boxes(rng, 30)
    xywh = [np.concatenate([x[:, 1::-1], x[:, :1:-1] - x[:, 1::-1]], axis=1).astype("float64") for x in (a, b)]
    expected = mask.iou(*xywh, np.zeros(len(b)))
    assert 0 < np.mean(expected > 0) < 1
    np.testing.assert_allclose(iou(a, b), expected, atol=1e-6)


def test_iou_of_a_batch_is_that_of_each_image() -> None:
    rng = np.random.default_rng(0)
    anchors, boxes = random_boxes(rng, 7), random_boxes(rng, 3, 5)
    batched = ops.convert_to_numpy(iou(anchors, boxes))
    assert batched.shape == (3, 7, 5)
    for image, row in zip(boxes, batched, strict=True):
        np.testing.assert_array_equal(row, iou(anchors, image))


@pytest.mark.parametrize("degenerate", [[5, 5, 5, 5], [5, 5, 5, 9], [9, 9, 5, 5], [0, 0, 0, 0], [-1, -1, -1, -1]])
def test_a_box_without_area_overlaps_nothing(degenerate: list[float]) -> None:
    boxes = np.array([degenerate, [0, 0, 20, 20]], "float32")
    np.testing.assert_allclose(iou(boxes, boxes), [[0, 0], [0, 1]])


def test_iou_of_integers_and_half_floats_is_float32() -> None:
    box = np.array([[0, 0, 10, 10]])
    assert ops.dtype(iou(box, ops.cast(box, "bfloat16"))) == "float32"


def test_clip_moves_every_corner_into_the_image() -> None:
    boxes = [[-5, -5, 10, 10], [50, 90, 70, 130], [200, 200, 300, 300]]
    np.testing.assert_array_equal(clip(boxes, 64, 96), [[0, 0, 10, 10], [50, 90, 64, 96], [64, 96, 64, 96]])


@given(boxes_strategy(), boxes_strategy())
def test_decode_inverts_encode(box: np.ndarray, anchor: np.ndarray) -> None:
    np.testing.assert_allclose(decode(encode(box, anchor), anchor), box, rtol=1e-5, atol=5e-3)


def test_weights_multiply_what_encode_returns_and_decode_divides_by_them() -> None:
    box, anchor, weights = [[5.0, 5.0, 25.0, 25.0]], [[0.0, 0.0, 10.0, 20.0]], (10.0, 10.0, 5.0, 5.0)
    deltas = encode(box, anchor, weights)
    np.testing.assert_allclose(deltas, [[10.0, 2.5, 5 * np.log(2.0), 0.0]], rtol=1e-6)
    np.testing.assert_allclose(decode(deltas, anchor, weights), box, rtol=1e-6)


@given(boxes_strategy())
def test_an_anchor_is_coded_by_exact_zeros(anchor: np.ndarray) -> None:
    np.testing.assert_array_equal(encode(anchor, anchor), np.zeros(4))


def test_encode_measures_shifts_in_anchor_sides_and_sizes_in_logs() -> None:
    anchor, box = [[0.0, 0.0, 10.0, 20.0]], [[5.0, 5.0, 25.0, 25.0]]
    np.testing.assert_allclose(encode(box, anchor), [[1.0, 0.25, np.log(2.0), 0.0]], rtol=1e-6)


def test_decode_limits_the_growth_of_sides_only() -> None:
    y1, x1, y2, x2 = ops.convert_to_numpy(decode([0.0, 0.0, 80.0, 80.0], [0.0, 0.0, 16.0, 32.0]))
    np.testing.assert_allclose([y2 - y1, x2 - x1], [1000.0, 2000.0], rtol=1e-5)


def test_decode_of_half_floats_computes_in_float32() -> None:
    deltas = ops.cast([[0.5, -0.25, 0.125, 0.0]], "bfloat16")  # exact in bfloat16; 1003 is not
    anchor = [[1003.0, 1003.0, 1019.0, 1019.0]]
    boxes = decode(deltas, anchor)
    assert ops.dtype(boxes) == "float32"
    np.testing.assert_array_equal(boxes, decode([[0.5, -0.25, 0.125, 0.0]], anchor))
