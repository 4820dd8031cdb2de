from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from spinenet_tf.heads.retinanet import RetinaNetOptions
from spinenet_tf.ops.anchors import AnchorSpec, anchors, concatenate
from spinenet_tf.ops.boxes import clip, decode, encode, iou
from spinenet_tf.ops.decoding import Candidates, detections, greedy_nms

SIZE = 64
POOL = RetinaNetOptions().pool()
ANCHORS = ops.convert_to_numpy(concatenate(anchors(SIZE, SIZE, AnchorSpec(max_level=5))))


def outputs(seed: int, batch: int = 1, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(-3, 1.5, (batch, len(ANCHORS), classes)).astype("float32")
    return logits, rng.normal(0, 0.2, (batch, len(ANCHORS), 4)).astype("float32")


def detected(logits: np.ndarray, deltas: np.ndarray, **options: Any) -> dict[str, np.ndarray]:
    found = detections(logits, deltas, ANCHORS, SIZE, SIZE, **POOL | options)
    return {name: ops.convert_to_numpy(value) for name, value in found.items()}


def of_boxes(boxes: list[list[float]], logits: list[list[float]]) -> dict[str, np.ndarray]:
    """Return the detections in an image of `SIZE` px whose only candidates are `boxes`."""
    boxes = np.array(boxes, "float32")
    centered = np.tile(np.array([16.0, 16.0, 48.0, 48.0], "float32"), (len(boxes), 1))
    found = detections(np.array([logits], "float32"), encode(boxes, centered)[None], centered, SIZE, SIZE, **POOL)
    return {name: ops.convert_to_numpy(value)[0] for name, value in found.items()}


def published(logits: np.ndarray, deltas: np.ndarray, iou_threshold: float = 0.5, keep: int = 100) -> list[tuple]:
    """Decode one image by the published protocol: NMS per class, then the best of all classes."""
    scores = 1 / (1 + np.exp(-logits))
    boxes = ops.convert_to_numpy(clip(decode(deltas, ANCHORS), SIZE, SIZE))
    overlaps, found = ops.convert_to_numpy(iou(boxes, boxes)), []
    for c in range(logits.shape[1]):
        kept: list[int] = []
        for n in np.argsort(-scores[:, c], kind="stable")[:5000]:
            if scores[n, c] > 0.05 and not any(overlaps[n, k] > iou_threshold for k in kept):
                kept.append(n)
        found += [(scores[n, c], c, boxes[n]) for n in kept]
    return sorted(found, key=lambda entry: -entry[0])[:keep]


@pytest.mark.parametrize(("seed", "threshold", "keep"), [(0, 0.5, 100), (1, 0.5, 20), (2, 0.3, 100), (3, 0.7, 300)])
def test_detections_are_those_of_the_published_protocol(seed: int, threshold: float, keep: int) -> None:
    logits, deltas = outputs(seed)
    found = detected(logits, deltas, iou_threshold=threshold, max_detections=keep)
    expected = published(logits[0], deltas[0], threshold, keep)
    count = found["num_detections"][0]
    assert count == len(expected) > 10
    scores, classes, boxes = zip(*expected, strict=True)
    np.testing.assert_allclose(found["scores"][0, :count], scores, rtol=1e-5)
    np.testing.assert_array_equal(found["classes"][0, :count], classes)
    np.testing.assert_allclose(found["boxes"][0, :count], boxes, atol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_detections_keep_their_invariants(seed: int) -> None:
    found = detected(*outputs(seed, batch=2))
    for boxes, scores, classes, count in zip(*found.values(), strict=True):
        assert (np.diff(scores) <= 0).all()
        assert (scores[:count] > 0.05).all()
        assert (boxes >= 0).all()
        assert (boxes <= SIZE).all()
        same_class = classes[:count, None] == classes[None, :count]
        overlaps = ops.convert_to_numpy(iou(boxes[:count], boxes[:count]))
        assert not (np.triu(overlaps > 0.5, 1) & same_class).any()


def test_slots_past_the_last_detection_are_empty() -> None:
    logits, deltas = outputs(0)
    logits[logits < np.sort(logits.ravel())[-3]] = -10
    found = detected(logits, deltas)
    count = found["num_detections"][0]
    assert 1 <= count <= 3
    assert (found["classes"][0, :count] >= 0).all()
    assert (found["classes"][0, count:] == -1).all()
    assert not found["scores"][0, count:].any()
    assert not found["boxes"][0, count:].any()


def test_nothing_above_the_threshold_gives_no_detections() -> None:
    found = detected(np.full((2, len(ANCHORS), 4), -5.0, "float32"), np.zeros((2, len(ANCHORS), 4), "float32"))
    np.testing.assert_array_equal(found["num_detections"], [0, 0])
    assert found["boxes"].shape == (2, 100, 4)
    assert (found["classes"] == -1).all()


def test_a_class_suppresses_only_itself() -> None:
    box, near = [10.0, 10.0, 40.0, 40.0], [11.0, 10.0, 41.0, 40.0]
    found = of_boxes([box, near], [[2.0, -9.0], [1.0, 0.5]])
    np.testing.assert_array_equal(found["classes"][:3], [0, 1, -1])
    np.testing.assert_allclose(found["boxes"][:2], [box, near], atol=1e-4)


def test_a_suppressed_box_suppresses_nothing() -> None:
    first, second, third = ([float(y), 10.0, float(y) + 30.0, 40.0] for y in (5, 14, 23))  # IoU of neighbors 0.54
    found = of_boxes([first, second, third], [[3.0], [2.0], [1.0]])
    np.testing.assert_allclose(found["boxes"][:2], [first, third], atol=1e-4)
    assert found["num_detections"] == 2


def test_boxes_are_clipped_before_they_suppress() -> None:
    inside, beyond = [0.0, 0.0, 30.0, 64.0], [-60.0, 0.0, 30.0, 64.0]  # IoU 1/3 as they are, 1 in the image
    found = of_boxes([inside, beyond], [[2.0], [1.0]])
    assert found["num_detections"] == 1


def test_candidates_without_area_do_not_stop_the_walk() -> None:
    outside, inside = [-50.0, -50.0, -10.0, -10.0], [10.0, 10.0, 40.0, 40.0]
    found = of_boxes([outside, inside], [[2.0], [1.0]])
    np.testing.assert_allclose(found["boxes"][:2], [[0, 0, 0, 0], inside], atol=1e-4)
    assert found["num_detections"] == 2


def test_candidates_that_do_not_count_may_be_anywhere() -> None:
    place = np.zeros(400, "float32")
    boxes = np.stack([place, 20.0 * np.arange(400), place + 9, 20.0 * np.arange(400) + 9], axis=1)  # apart
    scores = np.linspace(1.0, 0.5, 400, dtype="float32")
    scores[1:399] = 0.0  # three blocks
    pool = Candidates(boxes[None].astype("float32"), scores[None], np.zeros((1, 400), "int32"))
    np.testing.assert_array_equal(greedy_nms(pool, 0.5, 4)[0], [0, 399, -1, -1])


def test_the_pool_holds_the_best_pairs_only() -> None:
    logits, deltas = outputs(0)
    found = detected(logits, deltas, pre_nms_top_k=6)
    best = 1 / (1 + np.exp(-np.sort(logits.ravel())[-6:]))
    assert 1 <= found["num_detections"][0] <= 6
    assert np.isin(found["scores"][0, : found["num_detections"][0]].round(5), best.round(5)).all()


def test_a_batch_is_decoded_as_its_images_are() -> None:
    logits, deltas = outputs(5, batch=3)
    batched = detected(logits, deltas)
    for i in range(3):
        for name, alone in detected(logits[i : i + 1], deltas[i : i + 1]).items():
            np.testing.assert_allclose(batched[name][i], alone[0], rtol=1e-6, atol=1e-5)


def test_half_precision_outputs_are_decoded_in_float32() -> None:
    logits, deltas = (ops.cast(x, "bfloat16") for x in outputs(0))
    half, full = detected(logits, deltas), detected(ops.cast(logits, "float32"), ops.cast(deltas, "float32"))
    for name in full:
        assert half[name].dtype == full[name].dtype
        np.testing.assert_array_equal(half[name], full[name])


def test_outputs_of_other_anchors_are_refused() -> None:
    logits, deltas = outputs(0)
    with pytest.raises(ValueError, match=r"number of anchors\. Received: shapes"):
        detections(logits, deltas, ANCHORS[:-1], SIZE, SIZE, **POOL)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow has dynamic shapes")
def test_unknown_batch_and_image_size_change_nothing() -> None:
    import tensorflow as tf

    def decoded(logits: Any, deltas: Any, height: Any, width: Any) -> dict[str, Any]:
        boxes = concatenate(anchors(height, width, AnchorSpec(max_level=5)))
        return detections(logits, deltas, boxes, height, width, **POOL)

    size = tf.TensorSpec([], "int32")
    specs = [tf.TensorSpec((None, None, 4)), tf.TensorSpec((None, None, 4)), size, size]
    traced = tf.function(decoded).get_concrete_function(*specs)
    logits, deltas = outputs(0, batch=2)
    dynamic = traced(tf.constant(logits), tf.constant(deltas), tf.constant(SIZE), tf.constant(SIZE))
    for name, expected in detected(logits, deltas).items():
        np.testing.assert_allclose(dynamic[name], expected, rtol=1e-6, atol=1e-5)
