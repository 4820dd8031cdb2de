"""Python functions inside `tf.data`, and how they end before Python does.

`tf.data` calls them from threads of its own, ahead of what is asked for. When Python finalizes, it takes apart the
iterators that are left, and the main thread waits for the calls under way; but no other thread may enter Python any
more, so they would never return. Therefore all iterators are taken apart at exit, while Python still answers.
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
    """Call a Python function as an operation of a graph, as `tf.numpy_function` does, but so that a program can end."""
    _watch_exit()
    return tf.numpy_function(function, inputs, types)


@functools.cache
def _watch_exit() -> None:
    atexit.register(_take_iterators_apart)


def _take_iterators_apart() -> None:
    """Drop what each living iterator holds: its threads end, and are waited for, after their last call."""
    # From here on Ctrl-C kills the process: as an exception it would leave iterators to the finalization.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    kinds = (tf.data.Iterator, tf.distribute.DistributedIterator)
    # By the type alone: to ask a stranger for its class may import what it stands for.
    iterators = [item for item in gc.get_objects() if issubclass(type(item), kinds)]
    for iterator in iterators:
        vars(iterator).clear()
