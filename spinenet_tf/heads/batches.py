"""Check the ground truth of each batch when Keras draws it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import keras
import numpy as np

from spinenet_tf.heads.ground_truth import (
    KEYS,
    are_fractions,
    check,
    check_shapes,
    odd_rows,
    odd_weights,
    weights_of,
)
from spinenet_tf.nets.streams import watched


class BatchCheck:
    """Check the ground truth of a series of batches `(x, y)` or `(x, y, sample_weight)`."""

    def __init__(self, num_classes: int):
        self.num_classes = num_classes
        self._is_first = True

    def __call__(self, batch: Any) -> None:
        """Check one batch, or raise a GroundTruthError."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
        check(x, y, sample_weight, self.num_classes, self._is_first)
        self._is_first = False


def checked(data: Any, num_classes: int) -> Any:
    """Wrap a generator, PyDataset, tf.data.Dataset or DataLoader so that each batch is checked when it is drawn.

    Other data, such as arrays, are returned unchanged.

    Raises:
        GroundTruthError: the elements of a tf.data.Dataset do not have the types and shapes of ground truth.
    """
    return watched(data, BatchCheck(num_classes), partial(_tf_dataset, num_classes=num_classes))


def _tf_dataset(data: Any, num_classes: int) -> Any:
    """Check batches in the graph, and call Python only to raise an error."""
    import tensorflow as tf

    from spinenet_tf.ops.python_calls import numpy_function

    _, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data.element_spec)
    check_shapes(y, sample_weight)

    def look(number: Any, batch: Any) -> Any:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
        size = tf.shape(tf.nest.flatten(x)[0])
        truth = [y[key] for key in KEYS]
        boxes, classes = map(_signed, truth)
        weights = [tf.reshape(weight, [-1]) for weight in weights_of(sample_weight)]
        odd = tf.reduce_any(odd_rows(boxes, classes, num_classes))
        odd |= (number == 0) & are_fractions(boxes, classes, size[1], size[2], tf.reduce_any)
        for weight in weights:
            odd |= tf.reduce_any(odd_weights(weight, weights[0]))
        inputs = [number == 0, size, *truth, *weights]
        raised = tf.cond(odd, lambda: numpy_function(_Raise(num_classes, sample_weight), inputs, tf.bool), lambda: True)
        with tf.control_dependencies([raised]):
            return tf.nest.map_structure(tf.identity, batch)

    return data.enumerate().map(look)


def _signed(x: Any) -> Any:
    import tensorflow as tf

    return tf.cast(x, tf.int64 if x.dtype.is_integer else tf.float32)


class _Raise:
    """Raise the error of `check` for an invalid batch."""

    def __init__(self, num_classes: int, sample_weight: Any):
        self.num_classes = num_classes
        self.keys = list(sample_weight) if isinstance(sample_weight, Mapping) else None

    def __call__(self, is_first: Any, size: Any, boxes: Any, classes: Any, *weights: Any) -> Any:
        images = np.broadcast_to(np.float32(0), size)
        weight = dict(zip(self.keys, weights, strict=True)) if self.keys else next(iter(weights), None)
        check(images, {"boxes": boxes, "classes": classes}, weight, self.num_classes, bool(is_first))
        return np.True_
