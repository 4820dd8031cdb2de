"""Augment the colors of an image randomly, with color jitter and RandAugment.

The operations are Pillow's, with which RandAugment was defined. Keras's layers draw from a stateful generator, so a run
could not be resumed exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

_ENHANCERS = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
_HUE = 0.1  # maximum hue shift at a jitter of 1, as a fraction of the color circle


@dataclass(frozen=True)
class Colors:
    """The strength of color augmentation. The defaults turn it off, as in the published recipes.

    Raises:
        ValueError: a value is out of range.
    """

    jitter: float = 0.0  # 0..1: brightness, contrast and saturation change by a factor of 1 +- jitter, and the hue
    operations: int = 0  # number of RandAugment operations
    magnitude: float = 0.5  # 0..1, of the RandAugment operations

    def __post_init__(self) -> None:
        if not 0 <= self.jitter <= 1 or not 0 <= self.magnitude <= 1 or self.operations < 0:
            raise ValueError(f"jitter and magnitude must be in 0..1, operations at least 0. Received: {self}")

    def __bool__(self) -> bool:
        """Return whether any augmentation is on."""
        return bool(self.jitter or self.operations)

    def __call__(self, image: np.ndarray, seed: np.ndarray) -> np.ndarray:
        """Augment `[h, w, 3]` uint8; `seed` `[2]` int64 is the only source of randomness."""
        rng = np.random.default_rng(seed.view(np.uint64))
        picture = Image.fromarray(image)
        if self.jitter:
            picture = color_jitter(picture, self.jitter, rng)
        if self.operations:
            picture = rand_augment(picture, self.operations, self.magnitude, rng)
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
