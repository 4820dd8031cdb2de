"""Create TensorFlow variables faster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras


@contextmanager
def named_alike() -> Iterator[None]:
    """Give all TensorFlow variables the same name; Keras's `path` stays unique. Can be used as a decorator.

    For every new name and shape, TensorFlow traces a function to create the variable: building a detector takes a third
    more time.
    """
    if keras.backend.backend() != "tensorflow":
        yield
        return
    import tensorflow as tf

    with tf.variable_creator_scope(_named_alike):
        yield


def _named_alike(create: Callable[..., Any], **given: Any) -> Any:
    import tensorflow as tf

    # In a TensorFlow 1 graph, variables of the same name would be the same variable.
    return create(**given | {"name": "variable/"} if tf.executing_eagerly() else given)  # "/" ignores name scopes
