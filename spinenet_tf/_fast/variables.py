"""How TensorFlow's variables are made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras


@contextmanager
def named_alike() -> Iterator[None]:
    """Give all of TensorFlow's variables one name; by Keras's `path` each keeps its own. Also a decorator.

    For every name and shape that it has not seen, TensorFlow instantiates a function to make the variable: a third more
    time to build a detector.
    """
    if keras.backend.backend() != "tensorflow":
        yield
        return
    import tensorflow as tf

    with tf.variable_creator_scope(_named_alike):
        yield


def _named_alike(create: Callable[..., Any], **given: Any) -> Any:
    import tensorflow as tf

    # In a graph of TensorFlow 1 variables of one name would be one variable.
    return create(**given | {"name": "variable/"} if tf.executing_eagerly() else given)  # "/": outside of all scopes
