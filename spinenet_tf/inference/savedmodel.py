"""Open SavedModels with TensorFlow, and call one of their signatures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from spinenet_tf._files import native_output
from spinenet_tf.inference.naming import INPUT

RAW, SERVE = "raw", "serve"  # signatures: without decoding, and the results of Keras's `predict`


def open_saved_model(path: Path) -> Any:
    """Return TensorFlow's object of a SavedModel.

    Raises:
        ValueError: TensorFlow cannot load it.
    """
    import tensorflow as tf

    try:
        with native_output.hidden():
            return tf.saved_model.load(str(path))
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise ValueError(f"TensorFlow cannot load {path} as a SavedModel: {error}") from error


def signature_runner(model: Any, name: str, key: str = INPUT) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Return a function from a batch, the signature's input `key`, to the outputs by name."""
    import tensorflow as tf

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        # Look up the signature in the model, to keep it alive: it owns the weights, and a signature does not.
        outputs = model.signatures[name](**{key: tf.constant(images)})
        return {output: x.numpy() for output, x in outputs.items()}  # waits until they are computed

    return run
