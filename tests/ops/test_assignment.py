from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import ops

from spinenet_tf.ops.anchors import AnchorSpec, anchors, concatenate
from spinenet_tf.ops.assignment import Assignment, assign
from spinenet_tf.ops.boxes import decode, encode, iou

ANCHORS = ops.convert_to_numpy(concatenate(anchors(96, 96, AnchorSpec(max_level=6))))


def scene(seed: int, count: int, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """Return `boxes [count, 4]` with sides of `low` to `high` px, some beyond the image, and classes."""
    rng = np.random.default_rng(seed)
    center, half = rng.uniform(0, 96, (count, 2)), rng.uniform(low, high, (count, 2)) / 2
    boxes = np.concatenate([center - half, center + half], axis=1).astype("float32")
    return boxes, rng.integers(0, 5, count).astype("int32")


def assigned(boxes: np.ndarray, classes: np.ndarray) -> Assignment:
    return Assignment(*(ops.convert_to_numpy(target) for target in assign(ANCHORS, boxes, classes)))


def reference(boxes: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Assign one image by the rule as it is documented: class targets `[N]`, and matched rows `[N]` (-1 = none)."""
    match, overlap = np.full(len(ANCHORS), -1), ops.convert_to_numpy(iou(ANCHORS, boxes))
    rows = [m for m in range(len(boxes)) if classes[m] >= 0]
    for n in range(len(ANCHORS)):
        for m in rows:
            if overlap[n, m] >= 0.5 and (match[n] < 0 or overlap[n, m] > overlap[n, match[n]]):
                match[n] = m
    for m in reversed(rows):
        if overlap[:, m].max() > 0:
            match[overlap[:, m].argmax()] = m
    return np.array([classes[m] if m >= 0 else -1 for m in match]), match


SCENES = {
    "large": scene(0, 6, 20, 90),
    "tiny": scene(1, 8, 0.5, 4),
    "crowded": scene(2, 60, 10, 40),
    "one": scene(3, 1, 30, 30),
    "outside": (np.array([[500, 500, 600, 600], [30, 30, 60, 60]], "float32"), np.array([1, 2], "int32")),
}


@pytest.mark.parametrize("name", SCENES)
def test_assignment_follows_the_rule(name: str) -> None:
    boxes, classes = SCENES[name]
    targets = assigned(boxes[None], classes[None])
    expected_classes, match = reference(boxes, classes)
    np.testing.assert_array_equal(targets.class_targets[0], expected_classes)
    np.testing.assert_array_equal(targets.positive[0], match >= 0)
    hit = targets.positive[0]
    assert hit.any()
    np.testing.assert_allclose(targets.box_targets[0][hit], encode(boxes[match[hit]], ANCHORS[hit]), atol=1e-6)
    np.testing.assert_allclose(decode(targets.box_targets[0][hit], ANCHORS[hit]), boxes[match[hit]], atol=1e-3)
    assert not targets.box_targets[0][~hit].any()


@pytest.mark.parametrize("name", ["crowded", "tiny"])
def test_anchors_matched_in_chunks_are_matched_alike(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes, classes = (x[None] for x in SCENES[name])
    expected = assigned(boxes, classes)
    overlaps = 100 * (1 + len(boxes[0]))  # a hundred anchors in a chunk, or a few less
    monkeypatch.setattr("spinenet_tf.ops.assignment.OVERLAPS", overlaps)
    for got, target in zip(assigned(boxes, classes), expected, strict=True):
        np.testing.assert_array_equal(got, target)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_without_ground_truth_every_anchor_is_background(count: int) -> None:
    targets = assigned(np.full((2, count, 4), -1.0, "float32"), np.full((2, count), -1, "int32"))
    assert (targets.class_targets == -1).all()
    assert not targets.positive.any()
    assert not targets.box_targets.any()


@pytest.mark.parametrize("garbage", [-1.0, 0.0, 50.0, np.nan, np.inf, "an anchor"])
def test_padding_never_matches_whatever_its_coordinates_are(garbage: float | str) -> None:
    boxes, classes = SCENES["large"]
    padding = np.broadcast_to(ANCHORS[100] if garbage == "an anchor" else garbage, (3, 4))
    padded_boxes = np.concatenate([padding, boxes]).astype("float32")
    padded_classes = np.concatenate([[-1, -1, -1], classes]).astype("int32")
    for padded, plain in zip(
        assigned(padded_boxes[None], padded_classes[None]), assigned(boxes[None], classes[None]), strict=True
    ):
        np.testing.assert_array_equal(padded, plain)


def test_ground_truth_without_area_or_overlap_forces_nothing() -> None:
    boxes = np.array([[[40, 40, 40, 60], [40, 40, 40, 40], [60, 60, 40, 40], [900, 900, 950, 950]]], "float32")
    targets = assigned(boxes, np.zeros((1, 4), "int32"))
    assert not targets.positive.any()
    assert np.isfinite(targets.box_targets).all()


def test_of_two_claims_to_one_anchor_the_first_wins() -> None:
    near, exact = ANCHORS[100] + np.array([0, 0, 0.5, 0.5], "float32"), ANCHORS[100]
    for boxes in ([near, exact], [exact, near]):
        targets = assigned(np.array([boxes]), np.array([[3, 4]], "int32"))
        assert targets.class_targets[0, 100] == 3


def test_the_order_of_ground_truth_does_not_matter() -> None:
    boxes = np.array([[2, 3, 33, 30], [50, 9, 90, 41], [8, 52, 30, 93], [55, 50, 93, 91]], "float32")
    classes = np.array([0, 1, 2, 3], "int32")
    plain = assigned(boxes[None], classes[None])
    assert {0, 1, 2, 3} <= set(plain.class_targets[0].tolist())
    for order in ([3, 2, 1, 0], [1, 3, 0, 2]):
        for permuted, original in zip(assigned(boxes[None, order], classes[None, order]), plain, strict=True):
            np.testing.assert_array_equal(permuted, original)


def test_a_batch_is_assigned_as_its_images_are() -> None:
    scenes = [scene(seed, 7, 5, 60) for seed in range(3)]
    batched = assigned(*(np.stack(part) for part in zip(*scenes, strict=True)))
    for i, (boxes, classes) in enumerate(scenes):
        for together, alone in zip(batched, assigned(boxes[None], classes[None]), strict=True):
            np.testing.assert_allclose(together[i], alone[0], atol=1e-6)


def test_targets_have_the_promised_types() -> None:
    boxes, classes = SCENES["large"]
    targets = assign(ANCHORS, boxes[None].astype("float64"), classes[None].astype("int64"))
    assert [ops.dtype(target) for target in targets] == ["int32", "float32", "bool", "float32"]


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow has dynamic shapes")
def test_unknown_batch_anchors_and_ground_truth_count_change_nothing() -> None:
    import tensorflow as tf

    shapes = [(None, 4), (None, None, 4), (None, None)]
    specs = [tf.TensorSpec(s, t) for s, t in zip(shapes, ["float32", "float32", "int32"], strict=True)]
    traced = tf.function(lambda *args: tuple(assign(*args))).get_concrete_function(*specs)
    for count in (0, 7):
        boxes, classes = (np.stack([part, part]) for part in scene(0, count, 5, 60))
        traced_targets = traced(*map(tf.constant, (ANCHORS, boxes, classes)))
        for dynamic, eager in zip(traced_targets, assigned(boxes, classes), strict=True):
            np.testing.assert_allclose(dynamic, eager, atol=1e-6)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="JAX compiles all")
@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("devices", [["gpu:0"], []])
def test_all_anchors_are_computed_on_where_xla_compiles_alone(
    compiled: bool, devices: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU without XLA (under a strategy or with determinism), the B * M * N IoUs are not fused either."""
    import tensorflow as tf

    from spinenet_tf.ops import assignment

    monkeypatch.setattr(keras.distribution, "list_devices", lambda kind: devices)
    used = []
    for name in ("_assign_all", "_assign_positives"):
        function = getattr(assignment, name)
        monkeypatch.setattr(assignment, name, lambda *args, of=function, name=name: used.append(name) or of(*args))
    boxes, classes = (tf.constant(part[None]) for part in SCENES["large"])
    traced = tf.function(lambda *args: tuple(assign(ANCHORS, *args)), jit_compile=compiled)
    targets = [ops.convert_to_numpy(target) for target in traced(boxes, classes)]
    assert used == ["_assign_all" if compiled else "_assign_positives"]
    expected_classes, match = reference(*SCENES["large"])
    np.testing.assert_array_equal(targets[0][0], expected_classes)
    np.testing.assert_array_equal(targets[2][0], match >= 0)
