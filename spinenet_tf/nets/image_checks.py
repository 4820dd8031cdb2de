"""Refuse normalized images where a model takes pixels, and pixels where it takes normalized images."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from spinenet_tf.nets.streams import is_dataset, watched
from spinenet_tf.ops.pixels import BRIGHTEST


class ImageRangeError(ValueError):
    """Images that a model does not take; the message is one line."""


class ImageCheck:
    """Check images `[B, H, W, 3]`, or batches that start with images."""

    def __init__(self, takes_pixels: bool):
        self.takes_pixels = takes_pixels

    def __call__(self, batch: Any) -> None:
        """Check one batch.

        Raises:
            ImageRangeError: the model takes pixels, and a value is not in 0..255; or it takes normalized images, and
                the images are integers.
        """
        x, _, _ = keras.utils.unpack_x_y_sample_weight(batch)
        for images in keras.tree.flatten(x):
            if hasattr(images, "dtype") and self._has_to_look(images.dtype):
                _check_pixels(keras.ops.convert_to_numpy(images))

    def watch(self, data: Any) -> Any:
        """Check arrays now; wrap other data so that each batch is checked when it is drawn."""
        found = watched(data, self, self._in_graph)
        if found is data and not is_dataset(data):
            self(data)
        return found

    def _has_to_look(self, dtype: Any) -> bool:
        """Return whether only the values tell if the images are right; raise an error if their type does."""
        name = keras.backend.standardize_dtype(dtype)
        if self.takes_pixels:
            return name != "uint8"
        if name.startswith(("int", "uint")):
            raise ImageRangeError(
                "The model takes normalized images; a model with include_preprocessing=True takes pixels. "
                f"Received: dtype={name}"
            )
        return False

    def _in_graph(self, dataset: Any) -> Any:
        import tensorflow as tf

        from spinenet_tf.ops.python_calls import numpy_function

        x, _, _ = keras.utils.unpack_x_y_sample_weight(dataset.element_spec)
        if not any([self._has_to_look(spec.dtype) for spec in tf.nest.flatten(x)]):
            return dataset

        def look(*batch: Any) -> Any:
            images = tf.nest.flatten(batch)[0]
            ends = [tf.reduce_min(images), tf.reduce_max(images)]
            fine = (ends[0] >= 0) & (ends[1] <= BRIGHTEST)
            raised = tf.cond(fine, lambda: True, lambda: numpy_function(_refuse, ends, tf.bool))
            with tf.control_dependencies([raised]):
                batch = tf.nest.map_structure(tf.identity, batch)
            return batch if len(batch) > 1 else batch[0]

        return dataset.map(look)


def _check_pixels(images: np.ndarray) -> None:
    if images.size and not (images.min() >= 0 and images.max() <= BRIGHTEST):  # also for NaN
        _refuse(images.min(), images.max())


def _refuse(least: Any, most: Any) -> np.bool_:
    raise ImageRangeError(
        "A model with include_preprocessing=True takes pixels in 0..255, not normalized images. "
        f"Received: values from {least:.4g} to {most:.4g}"
    )
