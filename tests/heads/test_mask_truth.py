"""The masks of the ground truth, for heads that learn from them: what is refused, in arrays and in a dataset."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from spinenet_tf.heads.batches import checked
from spinenet_tf.heads.ground_truth import KEYS, MASKS, GroundTruthError, check

WITH_MASKS = (*KEYS, MASKS)
IMAGES = np.zeros((1, 32, 64, 3), "float32")


def truth(masks: Any) -> dict[str, Any]:
    """Return the ground truth of one box and one row of padding, with these masks."""
    boxes, classes = np.float32([[[2, 2, 20, 20], [-1] * 4]]), np.int32([[0, -1]])
    return {"boxes": boxes, "classes": classes} | ({} if masks is None else {"masks": masks})


def masks(real: float, padding: float = -1.0, shape: tuple[int, ...] = (1, 2, 8, 8)) -> np.ndarray:
    values = np.full(shape, padding, "float32")
    values[:, 0] = real
    return values


@pytest.mark.parametrize("fine", [masks(0.0), masks(0.5), masks(1.0), masks(1.0, float("nan"))])
def test_masks_of_boxes_are_within_0_and_1_and_padding_may_hold_anything(fine: np.ndarray) -> None:
    check(IMAGES, truth(fine), None, 3, keys=WITH_MASKS)
    check(IMAGES, truth(None), None, 3)  # a head that does not learn from masks needs none


@pytest.mark.parametrize(
    ("odd", "told"),
    [
        (None, '"boxes", "classes" and "masks". Received: targets keys='),
        (masks(255.0), "within 0..1"),
        (masks(-1.0), "or -1 for no mask"),
        (masks(float("nan")), "within 0..1"),
        (masks(1.0, shape=(1, 3, 8, 8)), r"one square for each box"),
        (masks(1.0, shape=(1, 2, 8, 9)), r"one square for each box"),
        (masks(1.0, shape=(1, 2, 8)), r"one square for each box"),
    ],
)
def test_other_masks_are_refused_in_arrays_and_in_a_dataset(odd: Any, told: str) -> None:
    import tensorflow as tf

    with pytest.raises(GroundTruthError, match=told):
        check(IMAGES, truth(odd), None, 3, keys=WITH_MASKS)
    data = tf.data.Dataset.from_tensors((IMAGES, truth(odd)))
    with pytest.raises((GroundTruthError, tf.errors.UnknownError, tf.errors.InvalidArgumentError), match=told):
        list(checked(data, 3, WITH_MASKS))
