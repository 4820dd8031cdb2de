"""Augment the colors of an image randomly, with color jitter and RandAugment.

The operations are Pillow's, with which RandAugment was defined. Keras's layers draw from a stateful generator, so a run
could not be resumed exactly.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from spinenet_tf.data.augmentation import Augment

_ENHANCERS = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
_HUE = 0.1  # maximum hue shift at a jitter of 1, as a fraction of the color circle


def recolor(image: np.ndarray, seed: np.ndarray, augment: Augment) -> np.ndarray:
    """Augment the colors of `[h, w, 3]` uint8; `seed` `[2]` int64 is the only source of randomness."""
    rng = np.random.default_rng(seed.view(np.uint64))
    picture = Image.fromarray(image)
    if augment.color_jitter:
        picture = color_jitter(picture, augment.color_jitter, rng)
    if augment.rand_augment:
        picture = rand_augment(picture, augment.rand_augment, augment.magnitude, rng)
    return np.array(picture)


def color_jitter(image: Image.Image, amount: float, rng: np.random.Generator) -> Image.Image:
    """Change brightness, contrast, saturation and hue in random order."""
    for index in rng.permutation(len(_ENHANCERS) + 1):
        drawn = rng.uniform(-1, 1)
        if index < len(_ENHANCERS):
            image = _ENHANCERS[index](image).enhance(1 + amount * drawn)
        else:
            image = _turn_hue(image, amount * _HUE * drawn)
    return image


def rand_augment(image: Image.Image, operations: int, magnitude: float, rng: np.random.Generator) -> Image.Image:
    """Apply `operations` random operations of `OPERATIONS`, the color operations of RandAugment (Cubuk 2020)."""
    for index in rng.integers(len(OPERATIONS), size=operations):
        image = OPERATIONS[index](image, magnitude, rng)
    return image


Operation = Callable[[Image.Image, float, np.random.Generator], Image.Image]


def _enhance(enhancer: type) -> Operation:
    """Return an operation that weakens or strengthens by up to 90%, with equal probability."""
    return lambda image, magnitude, rng: enhancer(image).enhance(1 + 0.9 * magnitude * rng.choice((-1, 1)))


OPERATIONS: tuple[Operation, ...] = (
    lambda image, magnitude, rng: image,
    lambda image, magnitude, rng: ImageOps.autocontrast(image),
    lambda image, magnitude, rng: ImageOps.equalize(image),
    lambda image, magnitude, rng: ImageOps.posterize(image, 8 - round(4 * magnitude)),
    lambda image, magnitude, rng: ImageOps.solarize(image, round(256 * (1 - magnitude))),
    *map(_enhance, (*_ENHANCERS, ImageEnhance.Sharpness)),
)


def _turn_hue(image: Image.Image, turn: float) -> Image.Image:
    hue, saturation, value = image.convert("HSV").split()
    turned = hue.point([(level + round(turn * 256)) % 256 for level in range(256)])
    return Image.merge("HSV", (turned, saturation, value)).convert("RGB")
