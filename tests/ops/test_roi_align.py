from __future__ import annotations

import numpy as np
import pytest
from keras import ops

from spinenet_tf.ops.roi_align import multilevel_roi_align


def ramps(height: int, width: int, batch: int = 1) -> dict[str, np.ndarray]:
    """Return features whose channels are row, column and level: bilinear samples of them are their coordinates."""
    features = {}
    for level in range(3, 8):
        rows, columns = -(-height // 2**level), -(-width // 2**level)
        y, x = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
        features[f"P{level}"] = np.tile(np.stack([y, x, np.full_like(y, level)], -1)[None], (batch, 1, 1, 1))
    return {name: x.astype("float32") for name, x in features.items()}


def aligned(features: dict, boxes: list, size: int = 7) -> np.ndarray:
    return ops.convert_to_numpy(multilevel_roi_align(features, np.array([boxes], "float32"), size))[0]


@pytest.mark.parametrize(("size", "offset"), [(7, 0.5), (14, 0.5), (2, 0.0)])
def test_each_bin_is_sampled_at_its_offset(size: int, offset: float) -> None:
    y1, x1, y2, x2 = box = [24.0, 40.0, 87.0, 62.0]
    found = multilevel_roi_align(ramps(256, 256), np.array([[box]], "float32"), size, offset)
    bins = (np.arange(size) + offset) / size
    expected = np.meshgrid((y1 + bins * (y2 - y1)) / 8, (x1 + bins * (x2 - x1)) / 8, indexing="ij")
    np.testing.assert_allclose(ops.convert_to_numpy(found)[0, 0, ..., :2], np.stack(expected, -1), rtol=1e-5)


@pytest.mark.parametrize(
    ("side", "level"),
    [(1, 3), (111, 3), (112, 3), (223, 3), (224, 4), (447, 4), (448, 5), (896, 6), (1792, 7), (3000, 7)],
)
def test_the_area_of_a_box_selects_its_level(side: int, level: int) -> None:
    crops = aligned(ramps(64, 64), [[0, 0, side, side], [0, 0, side / 2, side * 2]])
    np.testing.assert_allclose(crops[..., 2], np.full((2, 7, 7), level), atol=1e-3)


def test_boxes_without_area_and_inverted_boxes_read_the_finest_level() -> None:
    crops = aligned(ramps(256, 256), [[0, 0, 0, 0], [9, 9, 9, 200], [200, 9, 9, 200]])
    np.testing.assert_allclose(crops[..., 2], np.full(crops.shape[:-1], 3), rtol=1e-6)
    np.testing.assert_array_equal(crops[0, ..., :2], np.zeros((7, 7, 2)))


def test_samples_outside_of_the_image_read_its_edge() -> None:
    constant = {name: np.ones_like(x) for name, x in ramps(100, 150).items()}
    crops = aligned(constant, [[-50, -60, 40, 50], [60, 100, 180, 300], [500, 500, 600, 600], [-400, -400, 900, 900]])
    np.testing.assert_allclose(crops, np.ones_like(crops), atol=1e-3)


def test_boxes_that_are_not_numbers_give_no_numbers_and_no_error() -> None:
    crops = aligned(ramps(64, 64), [[np.nan] * 4, [8, 8, 40, 40]])
    assert np.isnan(crops[0]).all()
    assert np.isfinite(crops[1]).all()


def test_images_of_a_batch_do_not_mix() -> None:
    rng = np.random.default_rng(0)
    features = {name: rng.normal(size=x.shape).astype("float32") for name, x in ramps(96, 75, batch=3).items()}
    boxes = np.sort(rng.uniform(0, 96, (3, 9, 2, 2)), axis=2).reshape(3, 9, 4).astype("float32")
    batched = multilevel_roi_align(features, boxes, 7)
    for i in range(3):
        alone = multilevel_roi_align({name: x[i : i + 1] for name, x in features.items()}, boxes[i : i + 1], 7)
        np.testing.assert_array_equal(batched[i], alone[0])


def test_crops_have_the_type_of_the_features() -> None:
    half = {name: ops.cast(x, "bfloat16") for name, x in ramps(64, 64).items()}
    crops = multilevel_roi_align(half, np.array([[[8, 8, 40, 40]]], "float32"), 7)
    assert crops.dtype == half["P3"].dtype
    expected = aligned(ramps(64, 64), [[8, 8, 40, 40]])[..., :2]
    np.testing.assert_allclose(ops.convert_to_numpy(ops.cast(crops, "float32"))[0, ..., :2], expected, rtol=0.02)
