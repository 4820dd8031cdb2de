"""Check the ground truth of a detector before training: boxes, classes, masks and weights of images.

Without these checks, a class number out of range crashes TensorFlow on CPUs and is silently ignored on other devices,
and a box with swapped corners matches no anchor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from spinenet_tf.ops.boxes import Tensor

MASKS = "masks"
KEYS = ("boxes", "classes")  # every detector needs these


class GroundTruthError(ValueError):
    """Invalid boxes, classes, masks or weights; the message is one line."""


def check(
    x: Any, y: Any, sample_weight: Any, num_classes: int, is_first: bool = True, keys: Sequence[str] = KEYS
) -> None:
    """Check the values of the ground truth `y` of images `x [B, H, W, 3]`, and of their weights.

    `keys` are those that the detector needs. If the batch `is_first`, boxes that are all within 0..1 are refused,
    because they are probably not in pixels. In later batches, a tiny box may be the only one.

    Raises:
        GroundTruthError: see `check_shapes`; a class is not in -1..num_classes - 1; the corners of a box (not padding)
            are in the wrong order or not finite; a mask (not padding) is not within 0..1; or a weight is negative, not
            finite, or different for boxes and classes.
    """
    check_shapes(y, sample_weight, keys)
    boxes, classes = (signed(ops.convert_to_numpy(y[key])) for key in KEYS)
    with np.errstate(all="ignore"):
        odd = odd_rows(boxes, classes, num_classes)
    if odd.any():
        row = tuple(np.argwhere(odd)[0])
        raise GroundTruthError(_about(boxes[row], classes[row], num_classes))
    if MASKS in keys and odd_masks(ops.convert_to_numpy(y[MASKS]), classes).any():
        raise GroundTruthError("The mask of each box must be within 0..1. Received: other values, or -1 for no mask")
    height, width = keras.tree.flatten(x)[0].shape[1:3]
    if is_first and are_fractions(boxes, classes, height, width, np.any):
        raise GroundTruthError(
            f"Boxes must be in pixels of the network's input. Received: boxes all in 0..1, for {height} x {width} px"
        )
    _check_weights([np.ravel(ops.convert_to_numpy(each)) for each in weights_of(sample_weight)])


def check_shapes(y: Any, sample_weight: Any = None, keys: Sequence[str] = KEYS) -> None:
    """Check only types and shapes, which are known while a function is traced.

    Raises:
        GroundTruthError: `y` is not {"boxes": `[B, N, 4]`, "classes": `[B, N]`, "masks": `[B, N, S, S]`} of numbers
            (masks only if they are in `keys`), or `sample_weight` is not None, `[B]`, `[B, 1]`, or a dictionary with
            such an array for each key.
    """
    _check_keys(y, "targets", keys)
    boxes, classes = (_shape(y[key], key) for key in KEYS)
    if boxes and classes and not (len(boxes) == 3 and len(classes) == 2 and _agree(boxes, (*classes, 4))):
        raise GroundTruthError(
            "Boxes must be [B, N, 4] and classes [B, N]; pad images that have fewer boxes with class -1. "
            f"Received: boxes of shape {boxes}, classes of shape {classes}"
        )
    if MASKS in keys:
        _check_mask_shape(_shape(y[MASKS], MASKS), classes)
    if isinstance(sample_weight, Mapping):
        _check_keys(sample_weight, "sample_weight", keys)
    for weight in weights_of(sample_weight):
        shape, images = _shape(weight, "sample_weight"), classes[0] if classes else None
        if shape is not None and not (len(shape) in (1, 2) and _agree(shape, (images, 1)[: len(shape)])):
            raise GroundTruthError(
                f"A detector takes one weight per image. Received: sample_weight of shape {shape} for {images} images"
            )


def weights_of(sample_weight: Any) -> list[Any]:
    """Return the weights of all keys, which must be equal: for a dictionary of targets, Keras makes one of weights."""
    if sample_weight is None:
        return []
    return list(sample_weight.values()) if isinstance(sample_weight, Mapping) else [sample_weight]


def image_weights(sample_weight: Any) -> Tensor | None:
    """Return the weights of images as `[B]` float32, or None."""
    for weight in weights_of(sample_weight):
        return ops.cast(ops.reshape(weight, (-1,)), "float32")
    return None


def signed(x: Any) -> Any:
    """Convert an array to a signed type, so that differences of its values can be negative."""
    return x.astype("int64" if x.dtype.kind in "iu" else "float32", copy=False)


def odd_rows(boxes: Any, classes: Any, num_classes: int) -> Any:
    """Return where `classes [B, N]` or `boxes [B, N, 4]`, both of signed types, are invalid: `[B, N]` bool.

    It uses only operators that both NumPy arrays and TensorFlow tensors have.
    """
    is_class = (classes >= -1) & (classes < num_classes) & (classes % 1 == 0)
    sides = boxes[..., 2:] - boxes[..., :2]
    is_side = (sides >= 0) & (sides < 2**31)  # False for NaN and infinity
    return ~is_class | ((classes >= 0) & ~(is_side[..., 0] & is_side[..., 1]))


def are_fractions(boxes: Any, classes: Any, height: Any, width: Any, reduce_any: Callable) -> Any:
    """Return whether there are boxes and all are within 0..1 in larger images; `reduce_any` is `np.any` or like it."""
    is_real = classes >= 0
    is_outside = is_real[..., None] & ~((boxes >= 0) & (boxes <= 1))
    return reduce_any(is_real) & ~reduce_any(is_outside) & (height > 1) & (width > 1)


def odd_masks(masks: Any, classes: Any) -> Any:
    """Return where `masks [B, N, S, S]` of boxes, not of padding, are outside of 0..1: `[B, N, S, S]` bool."""
    return (classes >= 0)[..., None, None] & ~((masks >= 0) & (masks <= 1))


def odd_weights(weight: Any, first: Any) -> Any:
    """Return where a weight is not valid, or not equal to that of the first key: `[B]` bool."""
    return ~((weight >= 0) & (weight < float("inf"))) | (weight != first)


def _check_weights(weights: Sequence[np.ndarray]) -> None:
    for weight in weights:
        odd = odd_weights(weight, weights[0])
        if odd.any():
            value, other = weight[odd][0], weights[0][odd][0]
            if 0 <= other < np.inf:
                raise GroundTruthError(
                    f"The weights of {' and '.join(KEYS)} must be equal. Received: sample_weight={other} and {value}"
                )
            raise GroundTruthError(f"A weight must be a finite number of at least 0. Received: sample_weight={value}")


def _about(box: np.ndarray, number: Any, num_classes: int) -> str:
    if not (number % 1 == 0 and -1 <= number < num_classes):
        return f"Classes must be 0 to {num_classes - 1}, or -1 for padding. Received: class {number}"
    return (
        "Boxes must be (top, left, bottom, right) in pixels of the network's input, with top <= bottom and "
        "left <= right. "
        f"Received: box {box.tolist()}"
    )


def _check_mask_shape(masks: Sequence[int | None] | None, classes: Sequence[int | None] | None) -> None:
    if masks and classes and not (len(masks) == 4 and _agree(masks[:2], classes) and _agree(masks[2:3], masks[3:])):
        raise GroundTruthError(
            "Masks must be [B, N, S, S], one square for each box. "
            f"Received: masks of shape {masks}, classes of shape {classes}"
        )


def _check_keys(given: Any, what: str, keys: Sequence[str]) -> None:
    if isinstance(given, Mapping) and set(keys) <= set(given):
        return
    received = f"keys={sorted(given)}" if isinstance(given, Mapping) else f"of type {type(given).__name__}"
    *others, last = (f'"{key}"' for key in keys)
    needed = f"{', '.join(others)} and {last}"
    raise GroundTruthError(f"This detector takes a dictionary of {needed}. Received: {what} {received}")


def _shape(value: Any, what: str) -> tuple[int | None, ...] | None:
    """Return the shape of an array of numbers; None if even its rank is unknown."""
    dtype = getattr(value, "dtype", None)
    if dtype is None or hasattr(value, "ragged_rank") or not _is_number(dtype):
        kind = type(value).__name__ if dtype is None or hasattr(value, "ragged_rank") else dtype
        raise GroundTruthError(f"The {what} of a batch must be one dense array of numbers. Received: {what} of {kind}")
    return None if getattr(value.shape, "rank", 0) is None else tuple(value.shape)


def _is_number(dtype: Any) -> bool:
    try:
        return keras.backend.standardize_dtype(dtype).startswith(("int", "uint", "float", "bfloat"))
    except ValueError:  # dtype object, for example
        return False


def _agree(shape: Sequence[int | None], expected: Sequence[int | None]) -> bool:
    """Return whether two shapes may be the same; None stands for any size."""
    return all(None in pair or pair[0] == pair[1] for pair in zip(shape, expected, strict=True))
