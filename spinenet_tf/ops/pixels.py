"""Mean and standard deviation of pixels, for normalization."""

from __future__ import annotations

import numpy as np

MEAN = (0.485, 0.456, 0.406)  # of ImageNet, RGB in 0..1, as published
STD = (0.229, 0.224, 0.225)
# A normalized pixel is `pixel * SCALE + OFFSET`, for RGB pixels in 0..255; `[3]` float32.
SCALE = 1 / (255 * np.array(STD, np.float32))
OFFSET = -np.array(MEAN, np.float32) / np.array(STD, np.float32)
BRIGHTEST = 255.0  # the largest pixel


def unnormalize(images: np.ndarray) -> np.ndarray:
    """Return the pixels of normalized images `[..., 3]`, in 0..255 and not rounded: float32."""
    return np.clip((np.asarray(images, np.float32) - OFFSET) / SCALE, 0, BRIGHTEST)


def as_input(images: np.ndarray, dtype: str) -> np.ndarray:
    """Return normalized images as the input of a file: unchanged for float32, and as rounded pixels for uint8."""
    return np.rint(unnormalize(images)).astype(np.uint8) if dtype == "uint8" else images
