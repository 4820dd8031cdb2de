"""Check each batch of training data when Keras draws it, so that no batch is drawn twice, lost or reordered."""

from __future__ import annotations

import copy
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import GeneratorType
from typing import Any

import keras
import numpy as np

from spinenet_tf.heads.ground_truth import (
    KEYS,
    GroundTruthError,
    are_fractions,
    check,
    check_shapes,
    odd_rows,
    odd_weights,
    weights_of,
)


class BatchCheck:
    """Check the ground truth of a series of batches `(x, y)` or `(x, y, sample_weight)`."""

    def __init__(self, num_classes: int):
        self.num_classes = num_classes
        self._is_first = True

    def __call__(self, batch: Any) -> Any:
        """Return the batch unchanged, or raise a GroundTruthError."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
        check(x, y, sample_weight, self.num_classes, self._is_first)
        self._is_first = False
        return batch


def checked(data: Any, num_classes: int) -> Any:
    """Wrap a generator, PyDataset, tf.data.Dataset or DataLoader so that each batch is checked when it is drawn.

    Other data, such as arrays, are returned unchanged.

    Raises:
        GroundTruthError: the elements of a tf.data.Dataset do not have the types and shapes of ground truth.
    """
    each = BatchCheck(num_classes)
    if isinstance(data, GeneratorType):
        return (each(batch) for batch in data)
    if isinstance(data, keras.utils.PyDataset):
        return _PyDataset(data, each)
    if _is_a(data, "tensorflow", "data.Dataset"):
        return _tf_dataset(data, num_classes)
    if _is_a(data, "torch.utils.data", "DataLoader"):
        return _data_loader(data, each)
    return data


@contextmanager
def in_one_line() -> Iterator[None]:
    """Re-raise a GroundTruthError of a thread, process or graph without the errors that wrap it."""
    try:
        yield
    except GroundTruthError:
        raise
    except Exception as error:
        found = re.search(rf"{GroundTruthError.__name__}: (.*)$", str(error), re.MULTILINE)
        if found is None:
            raise
        raise GroundTruthError(found[1]) from None


def _is_a(data: Any, module: str, name: str) -> bool:
    """Return whether `data` is an instance of a class, without importing its module."""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return isinstance(found, type) and isinstance(data, found)


class _PyDataset(keras.utils.PyDataset):
    """A wrapper of a PyDataset that checks each batch in the worker that loads it."""

    def __init__(self, data: keras.utils.PyDataset, each: Callable[[Any], Any]):
        super().__init__(data.workers, data.use_multiprocessing, data.max_queue_size)
        self._data, self._each = data, each

    @property
    def num_batches(self) -> int | None:
        return self._data.num_batches

    def __getitem__(self, index: int) -> Any:
        return self._each(self._data[index])

    def on_epoch_begin(self) -> None:
        self._data.on_epoch_begin()

    def on_epoch_end(self) -> None:
        self._data.on_epoch_end()


class _Collate:
    """A DataLoader's `collate_fn` followed by a check; it can be pickled for worker processes."""

    def __init__(self, collate: Callable[[Any], Any], each: Callable[[Any], Any]):
        self._collate, self._each = collate, each

    def __call__(self, examples: Any) -> Any:
        return self._each(self._collate(examples))


def _data_loader(data: Any, each: Callable[[Any], Any]) -> Any:
    loader = copy.copy(data)
    loader.collate_fn = _Collate(data.collate_fn, each)
    return loader


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
