"""What a loaded model refuses before it computes: images of another shape or type, or that give no number."""

from __future__ import annotations

from typing import Any

import numpy as np

# Normalized pixels lie between -3 and 3. Much larger ones overflow float32 inside the net, which then gives NaN.
LARGEST = 1e6


def check_images(images: Any, image_size: tuple[int, int]) -> np.ndarray:
    """Return normalized images `[B, H, W, 3]` as a contiguous float32 array.

    Raises:
        ValueError: they have no real floating type, another shape, no image, or values that are not finite or beyond
            `LARGEST`.
    """
    try:
        images = np.asarray(images)
    except ValueError as error:  # rows of different lengths
        raise ValueError(f"Images are one array [batch, height, width, 3]. Received: {error}") from None
    if not np.issubdtype(images.dtype, np.floating):
        raise ValueError(f"Images are normalized, and so of a floating type. Received: dtype={images.dtype}")
    if images.ndim != 4 or images.shape[1:] != (*image_size, 3) or not len(images):
        shape = ("batch", *image_size, 3)
        raise ValueError(f"Images have the shape {shape}. Received: shape={images.shape}")
    if not (np.abs(images) <= LARGEST).all():  # of NaN, this is False
        least, most = images.min(), images.max()
        raise ValueError(f"Images are finite, and at most {LARGEST:g} in size. Received: from {least:g} to {most:g}")
    return np.ascontiguousarray(images, np.float32)
