"""Check the ground truth of each batch when Keras draws it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np

from spinenet_tf.heads.ground_truth import (
    KEYS,
    are_fractions,
    check,
    check_shapes,
    odd_masks,
    odd_rows,
    odd_weights,
    weights_of,
)
from spinenet_tf.nets.streams import watched


class BatchCheck:
    """Check the ground truth of a series of batches `(x, y)` or `(x, y, sample_weight)`."""

    def __init__(self, num_classes: int, keys: Sequence[str] = KEYS):
        self.num_classes, self.keys = num_classes, tuple(keys)
        self._is_first = True

    def __call__(self, batch: Any) -> None:
        """Check one batch, or raise a GroundTruthError."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
        check(x, y, sample_weight, self.num_classes, self._is_first, self.keys)
        self._is_first = False


def checked(data: Any, num_classes: int, keys: Sequence[str] = KEYS) -> Any:
    """Wrap a generator, PyDataset, tf.data.Dataset or DataLoader so that each batch is checked when it is drawn.

    `keys` are those that the detector needs. Other data, such as arrays, are returned unchanged.

    Raises:
        GroundTruthError: the elements of a tf.data.Dataset do not have the types and shapes of ground truth.
    """
    return watched(data, BatchCheck(num_classes, keys), partial(_tf_dataset, num_classes=num_classes, keys=tuple(keys)))


def _tf_dataset(data: Any, num_classes: int, keys: tuple[str, ...]) -> Any:
    """Check batches in the graph, and call Python only to raise an error."""
    import tensorflow as tf

    from spinenet_tf.ops.python_calls import numpy_function

    _, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data.element_spec)
    check_shapes(y, sample_weight, keys)

    def look(number: Any, batch: Any) -> Any:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
        size = tf.shape(tf.nest.flatten(x)[0])
        truth = [y[key] for key in keys]
        boxes, classes, *masks = map(_signed, truth)
        weights = [tf.reshape(weight, [-1]) for weight in weights_of(sample_weight)]
        odd = tf.reduce_any(odd_rows(boxes, classes, num_classes))
        odd |= (number == 0) & are_fractions(boxes, classes, size[1], size[2], tf.reduce_any)
        for each in masks:
            odd |= tf.reduce_any(odd_masks(each, classes))
        for weight in weights:
            odd |= tf.reduce_any(odd_weights(weight, weights[0]))
        inputs = [number == 0, size, *truth, *weights]
        raised = tf.cond(
            odd, lambda: numpy_function(_Raise(num_classes, keys, sample_weight), inputs, tf.bool), lambda: True
        )
        with tf.control_dependencies([raised]):
            return tf.nest.map_structure(tf.identity, batch)

    return data.enumerate().map(look)


def _signed(x: Any) -> Any:
    import tensorflow as tf

    return tf.cast(x, tf.int64 if x.dtype.is_integer else tf.float32)


class _Raise:
    """Raise the error of `check` for an invalid batch."""

    def __init__(self, num_classes: int, keys: tuple[str, ...], sample_weight: Any):
        self.num_classes, self.keys = num_classes, keys
        self.weight_keys = list(sample_weight) if isinstance(sample_weight, Mapping) else None

    def __call__(self, is_first: Any, size: Any, *given: Any) -> Any:
        images = np.broadcast_to(np.float32(0), size)
        truth, weights = dict(zip(self.keys, given, strict=False)), given[len(self.keys) :]
        weight = dict(zip(self.weight_keys, weights, strict=True)) if self.weight_keys else next(iter(weights), None)
        check(images, truth, weight, self.num_classes, bool(is_first), self.keys)
        return np.True_
