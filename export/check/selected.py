"""Compare detections that nets have selected: rounding errors may change their order, and which ones are the last."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np

Found = Mapping[str, np.ndarray]


def selected_difference(
    model: keras.Model, runner: Callable[[np.ndarray], Any], images: np.ndarray, tolerance: float
) -> dict[str, float]:
    """Return the maximum and mean difference of the raw outputs of a net that selects detections.

    Scores are compared in order, and each detection of Keras with the most similar one of `runner`, in all its numbers:
    boxes relative to the longer side of the image. A detection whose counterpart changes by more than `tolerance` when
    Keras gets images that are changed by `tolerance` depends on rounding errors, and only its score counts. A NaN on
    either side makes both results NaN.
    """
    expected, actual = _detected(model, images), {name: np.asarray(x) for name, x in runner(images).items()}
    change = tolerance * np.random.default_rng(1).standard_normal(images.shape, "float32")
    side = max(images.shape[1:3])
    errors = np.abs(expected["scores"] - actual["scores"])  # [B, M]
    nearest = _nearest(expected, actual, side)
    if np.isfinite(tolerance):
        stable = _nearest(expected, _detected(model, images + change), side) <= tolerance
        nearest = np.where(stable | np.isnan(nearest), nearest, 0.0)
    errors = np.maximum(errors, nearest)
    return {"max": float(errors.max()), "mean": float(errors.mean())}


def _detected(model: keras.Model, images: np.ndarray) -> dict[str, np.ndarray]:
    return {name: keras.ops.convert_to_numpy(x) for name, x in model(images, training=False).items()}


def _nearest(expected: Found, actual: Found, side: float) -> np.ndarray:
    """Return the difference `[B, M]` between each detection and the most similar one of `actual`."""
    return np.stack([_of_image(one, other, side) for one, other in zip(_rows(expected), _rows(actual), strict=True)])


def _rows(found: Found) -> Iterator[dict[str, np.ndarray]]:
    names = ("boxes", "classes", "masks", "scores")
    return (dict(zip(names, values, strict=True)) for values in zip(*(found[name] for name in names), strict=True))


def _of_image(expected: Found, actual: Found, side: float) -> np.ndarray:
    """Return the difference `[M]` for one image; detections of different classes differ by 1."""
    apart = (expected["classes"][:, None] != actual["classes"]).astype("float32")
    boxes = np.abs(expected["boxes"][:, None] - actual["boxes"]).max(axis=-1) / side
    scores = np.abs(expected["scores"][:, None] - actual["scores"])
    place = np.maximum(np.maximum(apart, boxes), scores)  # [M, M]
    best = place.argmin(axis=1)
    masks = np.abs(expected["masks"] - actual["masks"][best]).max(axis=(1, 2))
    return np.maximum(place[np.arange(len(best)), best], masks)
