from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from gradients import gradient
from keras import ops

from spinenet_tf.ops.losses import focal_loss, giou_loss, huber_loss

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 4, (2, 30, 5)).astype("float32")
CLASSES = RNG.integers(-1, 5, (2, 30)).astype("int32")
DELTAS = RNG.normal(0, 0.3, (2, 30, 4)).astype("float32")
TARGETS = RNG.normal(0, 0.3, (2, 30, 4)).astype("float32")
CORNERS = RNG.uniform(0, 90, (30, 2))
ANCHORS = np.concatenate([CORNERS, CORNERS + RNG.uniform(10, 40, (30, 2))], axis=-1).astype("float32")


def focal_reference(logits: np.ndarray, classes: np.ndarray, alpha: float, gamma: float) -> np.ndarray:
    p = 1 / (1 + np.exp(-logits.astype("float64")))
    hot = classes[..., None] == np.arange(logits.shape[-1])
    p_t, alpha_t = np.where(hot, p, 1 - p), np.where(hot, alpha, 1 - alpha)
    return np.sum(-alpha_t * (1 - p_t) ** gamma * np.log(p_t), axis=-1)


def huber_reference(deltas: np.ndarray, targets: np.ndarray, delta: float) -> np.ndarray:
    error = np.abs(deltas.astype("float64") - targets)
    return np.mean(np.where(error <= delta, error**2 / 2, delta * error - delta**2 / 2), axis=-1)


def slope(loss: Callable[[np.ndarray], float], x: np.ndarray, step: float = 1e-6) -> np.ndarray:
    """Return the gradient of `loss` at `x` by central differences in float64."""
    slopes = np.zeros(x.size)
    for i in range(x.size):
        shift = np.zeros(x.size)
        shift[i] = step
        shift = shift.reshape(x.shape)
        slopes[i] = (loss(x + shift) - loss(x - shift)) / (2 * step)
    return slopes.reshape(x.shape)


@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 1.5), (0.5, 0.0), (0.75, 2.0)])
def test_focal_loss_is_that_of_float64(alpha: float, gamma: float) -> None:
    expected = focal_reference(LOGITS, CLASSES, alpha, gamma)
    np.testing.assert_allclose(focal_loss(LOGITS, CLASSES, alpha, gamma), expected, rtol=2e-5)


@pytest.mark.parametrize("delta", [0.1, 1.0])
def test_huber_loss_is_that_of_float64(delta: float) -> None:
    expected = huber_reference(DELTAS, TARGETS, delta)
    np.testing.assert_allclose(huber_loss(DELTAS, TARGETS, delta), expected, rtol=1e-5)


def test_gradients_are_the_slopes_of_the_float64_losses() -> None:
    logits, classes = LOGITS[:, :4], CLASSES[:, :4]
    np.testing.assert_allclose(
        gradient(lambda x: ops.sum(focal_loss(x, classes, 0.25, 1.5)), logits),
        slope(lambda x: focal_reference(x, classes, 0.25, 1.5).sum(), logits.astype("float64")),
        rtol=1e-4,
        atol=1e-5,
    )
    deltas, targets = DELTAS[:, :4], TARGETS[:, :4]
    np.testing.assert_allclose(
        gradient(lambda x: ops.sum(huber_loss(x, targets, 0.1)), deltas),
        slope(lambda x: huber_reference(x, targets, 0.1).sum(), deltas.astype("float64")),
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.5, 2.0])
def test_extreme_logits_have_finite_losses_and_gradients(gamma: float) -> None:
    logits = np.array([[[-1e4, -100.0, -1.0, 0.0, 1.0, 100.0, 1e4]]] * 2, "float32")
    classes = np.array([[0], [6]], "int32")
    loss = ops.convert_to_numpy(focal_loss(logits, classes, 0.25, gamma))
    assert np.isfinite(loss).all()
    assert loss[0, 0] > 1e4 * 0.75  # both ends of the first row are wrong, 1e4 each
    assert np.isfinite(gradient(lambda x: ops.sum(focal_loss(x, classes, 0.25, gamma)), logits)).all()


def test_a_perfect_box_has_no_loss_and_no_gradient() -> None:
    assert not ops.convert_to_numpy(huber_loss(TARGETS, TARGETS, 0.1)).any()
    assert not gradient(lambda x: ops.sum(huber_loss(x, TARGETS, 0.1)), TARGETS).any()


def test_half_precision_outputs_are_computed_in_float32() -> None:
    logits, deltas = ops.cast(LOGITS, "bfloat16"), ops.cast(DELTAS, "float16")
    exact = focal_loss(ops.cast(logits, "float32"), CLASSES, 0.25, 1.5)
    assert ops.dtype(focal_loss(logits, CLASSES, 0.25, 1.5)) == "float32"
    np.testing.assert_array_equal(focal_loss(logits, CLASSES, 0.25, 1.5), exact)
    assert ops.dtype(huber_loss(deltas, TARGETS, 0.1)) == "float32"


def test_giou_of_known_boxes() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10], [5, 5, 5, 5]], "float32")
    targets = np.array([[0, 0, 10, 10], [0, 5, 10, 15], [0, 20, 10, 30], [5, 5, 5, 5]], "float32")
    # The same; a third in common, in a hull without waste; apart, with a third of the hull between; without area.
    np.testing.assert_allclose(giou_loss(boxes, targets), [0, 1 - 1 / 3, 1 + 1 / 3, 1], rtol=1e-6)


def test_without_objects_focal_losses_push_every_class_down() -> None:
    empty = np.full_like(CLASSES, -1)
    expected = focal_reference(LOGITS, empty, 0.25, 1.5)
    np.testing.assert_allclose(focal_loss(LOGITS, empty, 0.25, 1.5), expected, rtol=2e-5)
    slopes = gradient(lambda x: ops.sum(focal_loss(x, empty, 0.25, 1.5)), LOGITS)
    assert np.isfinite(slopes).all()
    assert (slopes > 0).all()
