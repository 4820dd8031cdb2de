"""Read images as operations of a `tf.data` graph, and replace bad ones."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import tensorflow as tf

from spinenet_tf.data.bad_images import BadImages
from spinenet_tf.data.dataset import DataError, Example, ImageError
from spinenet_tf.data.images import read_image
from spinenet_tf.ops.python_calls import numpy_function


def read_example(example: Example, max_pixels: int) -> np.ndarray:
    """Decode the image of an example to `[H, W, 3]` uint8; raise ImageError, also for a wrong size."""
    image = read_image(example.path, max_pixels)
    check_size(example, image.shape[:2])
    return image


def check_size(example: Example, size: tuple[int, ...]) -> None:
    """Raise ImageError if the size of an image, height and width, differs from its annotations."""
    if tuple(size) != (example.height, example.width):
        raise ImageError(
            f"{example.path}: the image is {size[0]} x {size[1]} pixels (height x width, upright), "
            f"its annotations say {example.height} x {example.width}"
        )


class Reader:
    """Decode the images of `examples` by index; with `cache`, decode all of them now and keep them.

    With `bad`, the next good image replaces a bad one, so the result depends only on the index and the files; too many
    bad images raise DataError. Without `bad`, a bad image raises ImageError.
    """

    def __init__(
        self, examples: Sequence[Any], decode: Callable[[Any], np.ndarray], cache: bool, bad: BadImages | None = None
    ):
        self._examples, self._bad = examples, bad
        self._decode = functools.cache(decode) if cache else decode
        if bad is not None:
            bad.count_among(example.path for example in examples)
        if cache:
            with ThreadPoolExecutor() as threads:
                list(threads.map(self._whole, range(len(examples))))

    def __call__(self, index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return an image `[h, w, 3]` uint8 and its index, which differs from `index` if that image is bad."""
        image, own = numpy_function(self._whole, [index], (tf.uint8, tf.int64))
        return tf.ensure_shape(image, [None, None, 3]), tf.ensure_shape(own, [])

    def _whole(self, index: int) -> tuple[np.ndarray, np.int64]:
        """Return the first good image starting at `index`, and its index."""
        if self._bad is None:
            return self._decode(self._examples[index]), np.int64(index)
        count = len(self._examples)
        for own in ((index + k) % count for k in range(count)):
            example = self._examples[own]
            if example.path in self._bad:
                continue
            try:
                return self._decode(example), np.int64(own)
            except ImageError as error:
                self._bad.add(example.path, error)
        raise DataError("all images are bad")  # not reached: this exceeds any limit
