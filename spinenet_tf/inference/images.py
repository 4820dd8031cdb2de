"""Convert the images that a user passes (paths, Pillow images, arrays) to pixels."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

_RANGE = (
    "An array must have uint8 pixels: floats may mean 0..1 or 0..255, which is not visible in every image. Convert it "
    "by `image.astype('uint8')`, after `(255 * image).round()` if white is 1. Received: dtype={dtype}"
)


def as_pixels(image: Any) -> np.ndarray:
    """Return the pixels `[h, w, 3]` uint8 RGB of an image, upright by its EXIF orientation, without alpha.

    `image` is a path or the `path` of an example of a data set, a Pillow image of any mode, or an array `[h, w, 3]`
    uint8 RGB, also of another framework.

    Raises:
        ImageError: the file does not exist or does not decode: see `read_image` and `pixels_of`.
        ValueError: it is something else, or an array of another shape or dtype.
    """
    from spinenet_tf.data.images import pixels_of, read_image

    if isinstance(image, str | os.PathLike):
        return read_image(Path(image))
    if hasattr(image, "read_bytes"):  # a part of a TFRecord file
        return read_image(image)
    if isinstance(image, Image.Image):
        return pixels_of(image)
    if not hasattr(image, "__array__"):
        kinds = "a path, a PIL image or an array [height, width, 3]"
        raise ValueError(f"An image must be {kinds}. Received: an object of type {type(image).__name__}")
    return _checked(np.asarray(image))


def _checked(image: np.ndarray) -> np.ndarray:
    if image.ndim == 4:
        raise ValueError(f"Pass a batch of images as a list of arrays: list(images). Received: shape={image.shape}")
    if image.ndim != 3 or image.shape[-1] != 3 or not image.size:
        raise ValueError(f"An array must have the shape [height, width, 3]. Received: shape={image.shape}")
    if np.issubdtype(image.dtype, np.inexact):
        raise ValueError(_RANGE.format(dtype=image.dtype))
    if image.dtype != np.uint8:
        raise ValueError(f"An array must have uint8 pixels. Received: dtype={image.dtype}")
    return np.array(image)  # a copy: the caller may read the next frame of a video into its array
