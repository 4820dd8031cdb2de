"""Look at each batch of data when Keras draws it, so that no batch is drawn twice, lost or reordered."""

from __future__ import annotations

import copy
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import GeneratorType
from typing import Any

import keras

Look = Callable[[Any], None]  # takes a batch `x`, `(x, y)` or `(x, y, sample_weight)`, and may raise an error


def watched(data: Any, look: Look, in_graph: Callable[[Any], Any]) -> Any:
    """Wrap a generator, PyDataset or DataLoader so that `look` is called with each batch when it is drawn.

    A tf.data.Dataset is wrapped by `in_graph(dataset)`. Other data, such as arrays, are returned unchanged.
    """
    each = _Each(look)
    if isinstance(data, GeneratorType):
        return (each(batch) for batch in data)
    if isinstance(data, keras.utils.PyDataset):
        return _PyDataset(data, each)
    if is_dataset(data):
        return in_graph(data)
    if _is_a(data, "torch.utils.data", "DataLoader"):
        return _data_loader(data, each)
    return data


def is_dataset(data: Any) -> bool:
    """Return whether `data` is a tf.data.Dataset."""
    return _is_a(data, "tensorflow", "data.Dataset")


@contextmanager
def in_one_line(kind: type[Exception]) -> Iterator[None]:
    """Re-raise an error of this kind from a thread, process or graph without the errors that wrap it."""
    try:
        yield
    except kind:
        raise
    except Exception as error:
        found = re.search(rf"{kind.__name__}: (.*)$", str(error), re.MULTILINE)
        if found is None:
            raise
        raise kind(found[1]) from None


def _is_a(data: Any, module: str, name: str) -> bool:
    """Return whether `data` is an instance of a class, without importing its module."""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return isinstance(found, type) and isinstance(data, found)


class _Each:
    """Call `look` with a batch, and return the batch; it can be pickled for worker processes if `look` can."""

    def __init__(self, look: Look):
        self._look = look

    def __call__(self, batch: Any) -> Any:
        self._look(batch)
        return batch


class _PyDataset(keras.utils.PyDataset):
    """A wrapper of a PyDataset that looks at each batch in the worker that loads it."""

    def __init__(self, data: keras.utils.PyDataset, each: _Each):
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
    """A DataLoader's `collate_fn` followed by a look; it can be pickled for worker processes."""

    def __init__(self, collate: Callable[[Any], Any], each: _Each):
        self._collate, self._each = collate, each

    def __call__(self, examples: Any) -> Any:
        return self._each(self._collate(examples))


def _data_loader(data: Any, each: _Each) -> Any:
    loader = copy.copy(data)
    loader.collate_fn = _Collate(data.collate_fn, each)
    return loader
