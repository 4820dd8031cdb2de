"""Call Python functions in `tf.data` without a deadlock at exit.

`tf.data` calls them from its own threads, ahead of the consumer. While Python finalizes, it destroys the remaining
iterators, and the main thread waits for calls in progress; but no other thread may enter Python any more, so these
calls never return. Therefore all iterators are destroyed at exit, before Python finalizes.
"""

from __future__ import annotations

import atexit
import functools
import gc
import signal
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf


def numpy_function(function: Callable[..., Any], inputs: Sequence[Any], types: Any) -> Any:
    """Call a Python function from a graph, as `tf.numpy_function` does, without a deadlock at exit."""
    _watch_exit()
    return tf.numpy_function(function, inputs, types)


@functools.cache
def _watch_exit() -> None:
    atexit.register(_destroy_iterators)


def _destroy_iterators() -> None:
    """Drop the resources of every live iterator, which waits for its threads to finish their last calls."""
    # From here on, Ctrl-C kills the process: as an exception, it would leave iterators to the finalization.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    kinds = (tf.data.Iterator, tf.distribute.DistributedIterator)
    # By `type` only: `isinstance` asks an object for its `__class__`, and that of a lazy module imports the module.
    iterators = [item for item in gc.get_objects() if issubclass(type(item), kinds)]
    for iterator in iterators:
        vars(iterator).clear()
