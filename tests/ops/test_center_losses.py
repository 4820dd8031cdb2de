"""The losses of CenterNet equal NumPy's in float64."""

from __future__ import annotations

import numpy as np
import pytest
from gradients import gradient
from keras import ops

from spinenet_tf.ops.center_losses import object_count, penalty_reduced_focal_loss, point_losses
from spinenet_tf.ops.heatmaps import CenterTargets

RNG = np.random.default_rng(0)
SHAPE, COUNT = (2, 5, 6), 4
LOGITS = RNG.normal(-1, 3, (*SHAPE, 3)).astype("float32")
SIZES, OFFSETS = RNG.normal(2, 1, (2, *SHAPE, 2)).astype("float32")
HEATMAP = RNG.uniform(0, 1, (*SHAPE, 3)).astype("float32")
HEATMAP[0, 1, 2, 0] = HEATMAP[0, 3, 3, 2] = HEATMAP[1, 0, 0, 1] = 1
TARGETS = CenterTargets(
    HEATMAP,
    RNG.uniform(1, 4, (2, COUNT, 2)).astype("float32"),
    RNG.uniform(0, 1, (2, COUNT, 2)).astype("float32"),
    np.int32([[8, 21, 8, 0], [0, 0, 0, 0]]),  # two objects in one cell
    np.array([[True, True, True, False], [True, False, False, False]]),
)
LOSS = {"focal_alpha": 2.0, "focal_beta": 4.0, "size_weight": 0.1, "offset_weight": 1.0}


def focal_reference(logits: np.ndarray, alpha: float = 2.0, beta: float = 4.0) -> np.ndarray:
    p, y = 1 / (1 + np.exp(-logits.astype("float64"))), HEATMAP.astype("float64")
    positive, negative = (1 - p) ** alpha * np.log(p), (1 - y) ** beta * p**alpha * np.log(1 - p)
    return -np.where(y == 1, positive, negative).sum(axis=-1)


def l1_reference(values: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Return the sum of L1 errors of each image."""
    flat = values.astype("float64").reshape(2, -1, 2)
    error = np.abs(flat[np.arange(2)[:, None], TARGETS.cells] - expected).sum(axis=-1)
    return (error * TARGETS.is_object).sum(axis=1)


@pytest.mark.parametrize(("alpha", "beta"), [(2.0, 4.0), (1.0, 0.0), (0.0, 2.0)])
def test_focal_loss_is_that_of_float64(alpha: float, beta: float) -> None:
    got = penalty_reduced_focal_loss(LOGITS, HEATMAP, alpha, beta)
    np.testing.assert_allclose(got, focal_reference(LOGITS, alpha, beta), rtol=2e-5)


def test_its_gradient_is_the_slope_of_the_float64_loss() -> None:
    got, step = gradient(lambda x: ops.sum(penalty_reduced_focal_loss(x, HEATMAP, 2.0, 4.0)), LOGITS), 1e-6
    for place in np.ndindex(*LOGITS.shape):
        shift = np.zeros(LOGITS.shape)
        shift[place] = step
        slope = (focal_reference(LOGITS + shift).sum() - focal_reference(LOGITS - shift).sum()) / (2 * step)
        np.testing.assert_allclose(got[place], slope, rtol=1e-3, atol=1e-5)


def test_extreme_logits_have_finite_losses_and_the_wrong_ones_a_gradient() -> None:
    logits = np.float32([-1e4, -100, -12, 0, 12, 100, 1e4] * 2).reshape(1, 1, 14, 1)
    heatmap = np.float32([0.0] * 7 + [1.0] * 7).reshape(logits.shape)
    assert np.isfinite(ops.convert_to_numpy(penalty_reduced_focal_loss(logits, heatmap, 2.0, 4.0))).all()
    slopes = gradient(lambda x: ops.sum(penalty_reduced_focal_loss(x, heatmap, 2.0, 4.0)), logits).ravel()
    assert np.isfinite(slopes).all()
    np.testing.assert_allclose(slopes[[4, 5, 6]], 1, atol=1e-3)  # cells without an object
    np.testing.assert_allclose(slopes[[7, 8, 9]], -1, atol=1e-3)  # centers


@pytest.mark.parametrize("weights", [None, np.float32([1.0, 1.0]), np.float32([2.0, 0.5])])
def test_losses_are_sums_over_the_batch_divided_by_its_objects(weights: np.ndarray | None) -> None:
    losses = point_losses(LOGITS, SIZES, OFFSETS, TARGETS, weights=weights, **LOSS)
    by_image = np.ones(2) if weights is None else weights.astype("float64")
    count = (by_image * [3, 1]).sum()
    assert float(object_count(TARGETS, weights)) == count
    expected = {
        "heatmap_loss": focal_reference(LOGITS).sum(axis=(1, 2)),
        "size_loss": 0.1 * l1_reference(SIZES, TARGETS.sizes),
        "offset_loss": l1_reference(OFFSETS, TARGETS.offsets),
    }
    assert set(losses) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(losses[name], (values * by_image).sum() / count, rtol=1e-5)


def test_sizes_and_offsets_learn_at_the_cells_of_objects_alone() -> None:
    for name, values in (("size_loss", SIZES), ("offset_loss", OFFSETS)):
        raw = {"sizes": SIZES, "offsets": OFFSETS}

        def loss(x, name=name, raw=raw):
            given = raw | {"sizes" if name == "size_loss" else "offsets": x}
            return point_losses(LOGITS, given["sizes"], given["offsets"], TARGETS, **LOSS)[name]

        slopes = gradient(loss, values).reshape(2, -1, 2)
        moved = {(image, cell) for image, cell in zip(*np.nonzero(slopes.any(axis=-1)), strict=True)}
        assert moved == {(0, 8), (0, 21), (1, 0)}


def test_without_ground_truth_losses_and_gradients_are_finite() -> None:
    empty = CenterTargets(
        np.zeros_like(HEATMAP), *(np.zeros_like(x) for x in TARGETS[1:4]), is_object=np.zeros((2, COUNT), bool)
    )
    losses = point_losses(LOGITS, SIZES, OFFSETS, empty, **LOSS)
    assert float(losses["size_loss"]) == float(losses["offset_loss"]) == 0
    assert np.isfinite(float(losses["heatmap_loss"]))
    assert (gradient(lambda x: point_losses(x, SIZES, OFFSETS, empty, **LOSS)["heatmap_loss"], LOGITS) > 0).all()
    assert not gradient(lambda x: point_losses(LOGITS, x, OFFSETS, empty, **LOSS)["size_loss"], SIZES).any()


def test_half_precision_outputs_are_computed_in_float32() -> None:
    raw = [ops.cast(x, "bfloat16") for x in (LOGITS, SIZES, OFFSETS)]
    half, full = (point_losses(*x, TARGETS, **LOSS) for x in (raw, [ops.cast(x, "float32") for x in raw]))
    for name, value in full.items():
        assert ops.dtype(half[name]) == "float32"
        np.testing.assert_array_equal(half[name], value)
