"""The boxes and classes that a detector learns from, their weights, and what is refused before it learns.

A class number out of range ends in a trace of the graph on TensorFlow's CPU, and without a word elsewhere; a box whose
corners are swapped matches no anchor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from spinenet_tf.ops.boxes import Tensor

KEYS = ("boxes", "classes")


class GroundTruthError(ValueError):
    """Boxes, classes or weights that nothing can be learned from; the message is one line."""


def check(x: Any, y: Any, sample_weight: Any, num_classes: int, is_first: bool = True) -> None:
    """Look at the values of the ground truth `y` of images `x [B, H, W, 3]`, and of their weights.

    Boxes that all lie within 0..1 are refused if the batch `is_first`; a later one may hold a splinter of a box alone.

    Raises:
        GroundTruthError: see `check_shapes`; a class is not in -1..num_classes - 1; the corners of a box that is no
            padding are in the wrong order or not finite; a weight is negative, not finite, or not the same for all
            keys.
    """
    check_shapes(y, sample_weight)
    boxes, classes = (signed(ops.convert_to_numpy(y[key])) for key in KEYS)
    with np.errstate(all="ignore"):
        odd = odd_rows(boxes, classes, num_classes)
    if odd.any():
        row = tuple(np.argwhere(odd)[0])
        raise GroundTruthError(_about(boxes[row], classes[row], num_classes))
    height, width = keras.tree.flatten(x)[0].shape[1:3]
    if is_first and are_fractions(boxes, classes, height, width, np.any):
        raise GroundTruthError(
            f"Boxes are in pixels of the network's input. Received: boxes within 0..1 alone, for {height} x {width} px"
        )
    _check_weights([np.ravel(ops.convert_to_numpy(each)) for each in weights_of(sample_weight)])


def check_shapes(y: Any, sample_weight: Any = None) -> None:
    """Look at types and shapes alone, which are known while a function is traced.

    Raises:
        GroundTruthError: `y` is not {"boxes": `[B, N, 4]`, "classes": `[B, N]`} of numbers, or `sample_weight` neither
            None nor `[B]`, `[B, 1]` or a dictionary of that for each key.
    """
    _check_keys(y, "targets")
    boxes, classes = (_shape(y[key], key) for key in KEYS)
    if boxes and classes and not (len(boxes) == 3 and len(classes) == 2 and _agree(boxes, (*classes, 4))):
        raise GroundTruthError(
            "Boxes are [B, N, 4] and classes [B, N]: rows of class -1 fill up an image with fewer. "
            f"Received: boxes of shape {boxes}, classes of shape {classes}"
        )
    if isinstance(sample_weight, Mapping):
        _check_keys(sample_weight, "sample_weight")
    for weight in weights_of(sample_weight):
        shape, images = _shape(weight, "sample_weight"), classes[0] if classes else None
        if shape is not None and not (len(shape) in (1, 2) and _agree(shape, (images, 1)[: len(shape)])):
            raise GroundTruthError(
                f"A detector takes one weight an image. Received: sample_weight of shape {shape} for {images} images"
            )


def weights_of(sample_weight: Any) -> list[Any]:
    """Return the weights of all keys, which are to be equal: Keras makes a dictionary where targets are one."""
    if sample_weight is None:
        return []
    return list(sample_weight.values()) if isinstance(sample_weight, Mapping) else [sample_weight]


def image_weights(sample_weight: Any) -> Tensor | None:
    """Return the weights of images as `[B]` float32, None if there are none."""
    for weight in weights_of(sample_weight):
        return ops.cast(ops.reshape(weight, (-1,)), "float32")
    return None


def signed(x: Any) -> Any:
    """Return an array in a type in which differences of its values have a sign."""
    return x.astype("int64" if x.dtype.kind in "iu" else "float32", copy=False)


def odd_rows(boxes: Any, classes: Any, num_classes: int) -> Any:
    """Return `[B, N]` bool: where `classes [B, N]` or `boxes [B, N, 4]` cannot be what they should, in signed types.

    By operators alone, which arrays and TensorFlow's tensors share.
    """
    is_class = (classes >= -1) & (classes < num_classes) & (classes % 1 == 0)
    sides = boxes[..., 2:] - boxes[..., :2]
    is_side = (sides >= 0) & (sides < 2**31)  # which neither NaN nor infinity is
    return ~is_class | ((classes >= 0) & ~(is_side[..., 0] & is_side[..., 1]))


def are_fractions(boxes: Any, classes: Any, height: Any, width: Any, reduce_any: Callable) -> Any:
    """Tell whether there are boxes, all within 0..1, in images that are larger; `reduce_any` is `np.any` or alike."""
    is_real = classes >= 0
    is_outside = is_real[..., None] & ~((boxes >= 0) & (boxes <= 1))
    return reduce_any(is_real) & ~reduce_any(is_outside) & (height > 1) & (width > 1)


def odd_weights(weight: Any, first: Any) -> Any:
    """Return `[B]` bool: where a weight is none, or another than that of the first key."""
    return ~((weight >= 0) & (weight < float("inf"))) | (weight != first)


def _check_weights(weights: Sequence[np.ndarray]) -> None:
    for weight in weights:
        odd = odd_weights(weight, weights[0])
        if odd.any():
            value, other = weight[odd][0], weights[0][odd][0]
            if 0 <= other < np.inf:
                raise GroundTruthError(
                    f"An image's weights of {' and '.join(KEYS)} are equal. Received: sample_weight={other} and {value}"
                )
            raise GroundTruthError(f"A weight is a number of 0 or more. Received: sample_weight={value}")


def _about(box: np.ndarray, number: Any, num_classes: int) -> str:
    if not (number % 1 == 0 and -1 <= number < num_classes):
        return f"Classes are 0 to {num_classes - 1}, and -1 for padding. Received: class {number}"
    return (
        "Boxes are top, left, bottom, right, none larger than the one opposite, in pixels of the network's input. "
        f"Received: box {box.tolist()}"
    )


def _check_keys(given: Any, what: str) -> None:
    if isinstance(given, Mapping) and set(KEYS) <= set(given):
        return
    received = f"keys={sorted(given)}" if isinstance(given, Mapping) else f"of type {type(given).__name__}"
    raise GroundTruthError(f"A detector takes a dictionary of boxes and classes. Received: {what} {received}")


def _shape(value: Any, what: str) -> tuple[int | None, ...] | None:
    """Return the shape of an array of numbers; None if even its rank is unknown."""
    dtype = getattr(value, "dtype", None)
    if dtype is None or hasattr(value, "ragged_rank") or not _is_number(dtype):
        kind = type(value).__name__ if dtype is None or hasattr(value, "ragged_rank") else dtype
        raise GroundTruthError(
            f"The {what} of a batch are one array of numbers, the same count for each image. Received: {what} of {kind}"
        )
    return None if getattr(value.shape, "rank", 0) is None else tuple(value.shape)


def _is_number(dtype: Any) -> bool:
    try:
        return keras.backend.standardize_dtype(dtype).startswith(("int", "uint", "float", "bfloat"))
    except ValueError:  # of objects, say
        return False


def _agree(shape: Sequence[int | None], expected: Sequence[int | None]) -> bool:
    """Tell whether two shapes may be the same, as far as they are known."""
    return all(None in pair or pair[0] == pair[1] for pair in zip(shape, expected, strict=True))
