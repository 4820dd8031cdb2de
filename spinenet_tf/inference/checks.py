"""Check input images before a model runs: shape, type, and finite values."""

from __future__ import annotations

from typing import Any

import numpy as np

# Normalized pixels are between -3 and 3. Much larger values overflow float32 inside the net and produce NaN.
LARGEST = 1e6


def check_images(images: Any, image_size: tuple[int, int]) -> np.ndarray:
    """Return normalized images `[B, H, W, 3]` as a contiguous float32 array.

    Raises:
        ValueError: they have another dtype or shape, the batch is empty, or a value is not finite or beyond `LARGEST`.
    """
    try:
        images = np.asarray(images)
    except ValueError as error:  # rows of different lengths
        raise ValueError(f"Images must be one array [batch, height, width, 3]. Received: {error}") from None
    if not np.issubdtype(images.dtype, np.floating):
        raise ValueError(f"Images must be normalized, in a floating-point dtype. Received: dtype={images.dtype}")
    if images.ndim != 4 or images.shape[1:] != (*image_size, 3) or not len(images):
        shape = ("batch", *image_size, 3)
        raise ValueError(f"Images must have the shape {shape}. Received: shape={images.shape}")
    if not (np.abs(images) <= LARGEST).all():  # False for NaN
        least, most = images.min(), images.max()
        raise ValueError(
            f"Pixels must be finite, with a magnitude of at most {LARGEST:g}. Received: from {least:g} to {most:g}"
        )
    return np.ascontiguousarray(images, np.float32)
