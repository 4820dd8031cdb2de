from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from keras import ops

from spinenet_tf.ops.rcnn_losses import box_loss, class_loss, mask_loss, rpn_box_loss, rpn_score_loss
from spinenet_tf.ops.roi_sampling import AnchorTargets

RNG = np.random.default_rng(0)
SHAPES = {"P4": (3, 2, 3, 2), "P3": (3, 4, 6, 2)}  # not in their order
LOGITS = {name: RNG.normal(size=shape).astype("float32") for name, shape in SHAPES.items()}
DELTAS = {name: RNG.normal(size=(*shape[:3], 8)).astype("float32") for name, shape in SHAPES.items()}
LABELS = RNG.integers(-1, 2, (3, 60))
BOXES = np.where((RNG.uniform(size=(3, 60)) < 0.2)[..., None], RNG.normal(size=(3, 60, 4)), 0.0).astype("float32")
CLASSES = np.array([[0, 2, 1, 0], [3, 0, 0, 0], [0] * 4], "int32")
CLASS_LOGITS = RNG.normal(size=(3, 4, 4)).astype("float32")
BOX_DELTAS = RNG.normal(size=(3, 4, 16)).astype("float32")
TARGETS = RNG.normal(size=(3, 4, 4)).astype("float32")
MASK_LOGITS, MASKS = RNG.normal(size=(2, 3, 4, 5, 5)).astype("float32")
MASKS = 1 / (1 + np.exp(-MASKS))


def all_losses(rows: Any = slice(None), weights: Any = None) -> list[float]:
    """Return the five losses of some of the three images."""
    of = lambda x: {name: value[rows] for name, value in x.items()} if isinstance(x, dict) else x[rows]  # noqa: E731
    found = [
        rpn_score_loss(of(LOGITS), of(LABELS), 20.0, weights),
        rpn_box_loss(of(DELTAS), AnchorTargets(of(LABELS), of(BOXES), None), 0.5, weights),
        class_loss(of(CLASS_LOGITS), of(CLASSES), weights),
        box_loss(of(BOX_DELTAS), of(TARGETS), of(CLASSES), 1.0, weights),
        mask_loss(of(MASK_LOGITS), of(MASKS), of(CLASSES), weights),
    ]
    assert [ops.dtype(loss) for loss in found] == ["float32"] * 5
    return [float(loss) for loss in found]


def cross_entropy(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    p = 1 / (1 + np.exp(-logits.astype("float64")))
    return -targets * np.log(p) - (1 - targets) * np.log(1 - p)


def huber(errors: np.ndarray, delta: float) -> np.ndarray:
    errors = np.abs(errors)
    return np.where(errors <= delta, 0.5 * errors**2, delta * (errors - 0.5 * delta))


def expected_losses() -> list[float]:
    logits = np.concatenate([LOGITS[name].reshape(3, -1) for name in ("P3", "P4")], axis=1)
    score = cross_entropy(logits, LABELS)[LABELS >= 0].sum() / (3 * 20)
    levels = [(DELTAS["P3"].reshape(3, -1, 4), BOXES[:, :48]), (DELTAS["P4"].reshape(3, -1, 4), BOXES[:, 48:])]
    rpn_box = 0.0
    for deltas, boxes in levels:
        counted = boxes.any(axis=-1)
        rpn_box += huber((deltas - boxes)[counted], 0.5).sum() / (4 * counted.sum() + 0.01)
    softmax = np.exp(CLASS_LOGITS) / np.exp(CLASS_LOGITS).sum(axis=-1, keepdims=True)
    classes = -np.log(np.take_along_axis(softmax, CLASSES[..., None], axis=-1)).mean()
    own = [BOX_DELTAS[i, j, 4 * c : 4 * c + 4] - TARGETS[i, j] for (i, j), c in np.ndenumerate(CLASSES) if c]
    masks = cross_entropy(MASK_LOGITS, MASKS)[CLASSES > 0].sum() / (25 * 3 + 0.01)
    return [score, rpn_box, classes, huber(np.array(own), 1.0).sum() / (4 * 3 + 0.01), masks]


def test_the_losses_are_their_definitions() -> None:
    np.testing.assert_allclose(all_losses(), expected_losses(), rtol=1e-5)


@pytest.mark.parametrize("weights", [[1, 2, 0], [0, 0, 1], [2, 2, 2]])
def test_the_weight_of_an_image_counts_how_often_it_is_in_the_batch(weights: list[int]) -> None:
    repeated = np.repeat([0, 1, 2], weights)
    np.testing.assert_allclose(all_losses(weights=np.array(weights, "float32")), all_losses(repeated), rtol=1e-5)


def test_without_positives_only_the_losses_of_scores_and_classes_remain() -> None:
    found = rpn_box_loss(DELTAS, AnchorTargets(LABELS, np.zeros_like(BOXES), None), 0.5)
    assert float(found) == 0.0
    score, _, classes, *others = all_losses(slice(2, 3))  # an image without ROIs of objects
    assert min(score, classes) > 0
    assert others == [0.0, 0.0]


def test_weights_of_zero_give_losses_of_zero() -> None:
    assert all_losses(weights=np.zeros(3, "float32")) == [0.0] * 5


def test_large_logits_give_finite_losses() -> None:
    labels = np.array([[1, 0]])
    logits = {"P3": np.array([[[[-1e4, 1e4]]]], "float32")}
    np.testing.assert_allclose(rpn_score_loss(logits, labels, 2.0), 1e4)
