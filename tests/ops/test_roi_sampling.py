from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from spinenet_tf.ops.anchors import AnchorSpec, anchors, concatenate
from spinenet_tf.ops.boxes import iou
from spinenet_tf.ops.roi_sampling import MaskTargets, RoiTargets, sample_anchors, sample_masks, sample_rois

SIDE = 64
ANCHORS = anchors(SIDE, SIDE, AnchorSpec(max_level=5, num_scales=1))
BOXES = np.array([[[4, 4, 30, 30], [20, 30, 60, 58], [-1] * 4], [[-1] * 4] * 3], "float32")  # the second has no object
CLASSES = np.array([[2, 1, -1], [-1] * 3], "int32")
RPN = {"positive_iou": 0.7, "negative_iou": 0.3, "samples": 32, "positive_share": 0.5}
ROIS = {"samples": 16, "positive_share": 0.25, "positive_iou": 0.5}


def seed(value: int = 0) -> keras.random.SeedGenerator:
    return keras.random.SeedGenerator(value)


def labels(boxes: np.ndarray = BOXES, classes: np.ndarray = CLASSES, value: int = 0, **options: Any) -> np.ndarray:
    targets = sample_anchors(ANCHORS, boxes, classes, **RPN | options, seed=seed(value))
    return ops.convert_to_numpy(targets.labels)


def test_anchors_are_labeled_by_their_iou_and_each_box_has_one() -> None:
    overlaps = ops.convert_to_numpy(iou(concatenate(ANCHORS), BOXES[0, :2]))
    best, forced = overlaps.max(axis=1), overlaps.argmax(axis=0)
    assert overlaps.max(axis=0).min() < 0.7  # one box has only the anchor that it claims
    found = labels(samples=10_000)[0]
    expected = np.where(best >= 0.7, 1, np.where(best < 0.3, 0, -1))
    expected[forced] = 1
    np.testing.assert_array_equal(found, expected)


def test_at_most_half_of_the_labels_are_positive() -> None:
    crowd = np.array([[[y, x, y + 24, x + 24] for y in range(0, 40, 4) for x in range(0, 40, 4)]], "float32")
    found = labels(crowd, np.ones((1, 100), "int32"), samples=20)
    assert (np.sum(found == 1), np.sum(found == 0)) == (10, 10)
    few = labels()
    assert 0 < np.sum(few[0] == 1) < 16
    np.testing.assert_array_equal(np.sum(few >= 0, axis=1), [32, 32])


def test_without_objects_all_labels_are_negative() -> None:
    found = labels()[1]
    assert (np.sum(found == 0), np.sum(found == 1)) == (32, 0)


def test_the_seed_chooses_anchors() -> None:
    np.testing.assert_array_equal(labels(value=1), labels(value=1))
    assert (labels(value=1) != labels(value=2)).any()


def test_box_targets_are_those_of_all_positives() -> None:
    targets = sample_anchors(ANCHORS, BOXES, CLASSES, **RPN | {"samples": 1}, seed=seed())
    positive = ops.convert_to_numpy(targets.positive)
    assert positive[0].sum() > 1
    np.testing.assert_array_equal(ops.convert_to_numpy(targets.box_targets).any(axis=-1), positive)


def proposals(count: int = 40) -> np.ndarray:
    """Return proposals near the objects, elsewhere, and zeros."""
    rng = np.random.default_rng(0)
    near = BOXES[0, rng.integers(0, 2, count // 2)] + rng.normal(0, 3, (count // 2, 4))
    far = np.tile([40.0, 0, 60, 10], (count - count // 2 - 4, 1)) + rng.uniform(0, 4, (count - count // 2 - 4, 1))
    return np.tile(np.concatenate([near, far, np.zeros((4, 4))])[None], (2, 1, 1)).astype("float32")


def sampled(boxes: np.ndarray = BOXES, classes: np.ndarray = CLASSES, count: int = 40, **options: Any) -> RoiTargets:
    found = sample_rois(proposals(count), boxes, classes, **ROIS | options, seed=seed())
    return RoiTargets(*map(ops.convert_to_numpy, found))


def test_rois_have_the_target_of_the_box_that_they_overlap_most() -> None:
    found = sampled()
    overlaps = ops.convert_to_numpy(iou(found.rois[0], BOXES[0, :2]))
    positive = overlaps.max(axis=1) >= 0.5
    match = overlaps.argmax(axis=1)
    np.testing.assert_array_equal(found.index[0], np.where(positive, match, -1))
    np.testing.assert_array_equal(found.classes[0], np.where(positive, CLASSES[0, match], 0))
    np.testing.assert_array_equal(found.boxes[0], np.where(positive[:, None], BOXES[0, match], 0))


def test_a_quarter_of_the_rois_are_positive_and_come_first() -> None:
    found = sampled()
    np.testing.assert_array_equal(found.classes[0] > 0, np.arange(16) < 4)
    np.testing.assert_array_equal(found.classes[1], np.zeros(16))
    assert len(np.unique(found.rois[0], axis=0)) > 8


def test_boxes_are_rois_themselves() -> None:
    found = sample_rois(np.zeros((2, 20, 4), "float32"), BOXES, CLASSES, **ROIS, seed=seed())
    rois = ops.convert_to_numpy(found.rois)[0]
    assert sorted(rois[rois.any(axis=-1)].tolist()) == sorted(BOXES[0, :2].tolist())
    assert sorted(ops.convert_to_numpy(found.classes)[0].tolist())[-2:] == [1, 2]


@pytest.mark.parametrize(("samples", "expected"), [(30, 30), (500, 43)])
def test_a_lack_of_background_is_filled_with_positives_and_then_with_padding(samples: int, expected: int) -> None:
    everywhere = np.tile(np.array([[0, 0, SIDE, SIDE]], "float32"), (2, 40, 1))
    boxes = np.where(CLASSES[..., None] >= 0, everywhere[:, :1], BOXES)
    found = sample_rois(everywhere, boxes, CLASSES, **ROIS | {"samples": samples}, seed=seed())
    classes = ops.convert_to_numpy(found.classes)
    assert classes.shape == (2, expected)
    assert (classes[0] > 0).sum() == min(samples, 42)
    np.testing.assert_array_equal(classes[1], np.zeros(expected))


def masks_of(rois: list, boxes: list, masks: np.ndarray, classes: list[int], **options: Any) -> MaskTargets:
    index = [i if c else -1 for i, c in enumerate(classes)]
    targets = RoiTargets(*(np.array([x], t) for x, t in [(rois, "f4"), (boxes, "f4"), (classes, "i4"), (index, "i4")]))
    return MaskTargets(*(ops.convert_to_numpy(x)[0] for x in sample_masks(targets, masks[None], **options)))


def test_masks_are_cropped_to_their_rois() -> None:
    half = np.zeros((2, 112, 112), "float32")
    half[0, :, :56] = 1  # the left half of the box
    half[1, :56] = 1  # the upper half
    box = [10.0, 10.0, 66.0, 66.0]
    found = masks_of([[10, 38, 66, 94], [24, 10, 52, 66]], [box, box], half, [1, 1], samples=2, size=28)
    assert found.masks[0].max() == 0  # from the middle to the right, beyond the object
    np.testing.assert_array_equal(found.masks[1], np.repeat([[1.0], [0.0]], 14, axis=0) * np.ones((1, 28)))


def test_a_soft_mask_stays_soft() -> None:
    ramp = np.tile(np.linspace(0, 1, 112, dtype="float32")[:, None], (1, 1, 112))
    box = [0.0, 0.0, 112.0, 112.0]
    found = masks_of([box], [box], ramp, [1], samples=1, size=28).masks[0]
    np.testing.assert_allclose(found[:, 0], (np.arange(28) + 0.5) * 4 / 111, rtol=1e-5)


def test_positives_are_chosen_first_and_the_masks_of_others_are_empty() -> None:
    boxes = np.tile([[0.0, 0.0, 20.0, 20.0]], (4, 1)).tolist()
    found = masks_of(boxes, boxes, -np.ones((4, 8, 8), "float32"), [0, 3, 0, 5], samples=3, size=4)
    np.testing.assert_array_equal(found.classes, [3, 5, 0])
    np.testing.assert_array_equal(found.masks[2], np.zeros((4, 4)))
    assert masks_of(boxes, boxes, np.ones((4, 8, 8), "float32"), [0] * 4, samples=9, size=4).masks.shape == (4, 4, 4)
