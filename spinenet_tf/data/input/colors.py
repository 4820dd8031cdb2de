"""Vary the colors of an image at random: jitter and RandAugment. Boxes stay where they are.

The operations are Pillow's, which RandAugment was defined with. Keras's layers cannot be used: they draw from a
generator that counts its calls, and a run could not be resumed exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

_ENHANCERS = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
_HUE = 0.1  # fraction of the color circle that a jitter of 1 turns the hue by, either way


@dataclass(frozen=True)
class Colors:
    """How colors vary; the defaults leave them alone, as the published recipes do.

    Raises:
        ValueError: a value out of range.
    """

    jitter: float = 0.0  # 0..1: brightness, contrast and saturation by a factor of 1 +- jitter, and the hue
    operations: int = 0  # of RandAugment, one after the other
    magnitude: float = 0.5  # 0..1, of these operations

    def __post_init__(self) -> None:
        if not 0 <= self.jitter <= 1 or not 0 <= self.magnitude <= 1 or self.operations < 0:
            raise ValueError(f"jitter and magnitude lie in 0..1, operations from 0 up. Received: {self}")

    def __bool__(self) -> bool:
        """Tell whether anything varies."""
        return bool(self.jitter or self.operations)

    def __call__(self, image: np.ndarray, seed: np.ndarray) -> np.ndarray:
        """Return `[h, w, 3]` uint8 in other colors; `seed` is `[2]` int64, and the only source of chance."""
        rng = np.random.default_rng(seed.view(np.uint64))
        picture = Image.fromarray(image)
        if self.jitter:
            picture = color_jitter(picture, self.jitter, rng)
        if self.operations:
            picture = rand_augment(picture, self.operations, self.magnitude, rng)
        return np.array(picture)


def color_jitter(image: Image.Image, amount: float, rng: np.random.Generator) -> Image.Image:
    """Change brightness, contrast, saturation and hue, in an order that is drawn as well."""
    for index in rng.permutation(len(_ENHANCERS) + 1):
        drawn = rng.uniform(-1, 1)
        if index < len(_ENHANCERS):
            image = _ENHANCERS[index](image).enhance(1 + amount * drawn)
        else:
            image = _turn_hue(image, amount * _HUE * drawn)
    return image


def rand_augment(image: Image.Image, operations: int, magnitude: float, rng: np.random.Generator) -> Image.Image:
    """Apply so many operations, each drawn from `OPERATIONS` (Cubuk 2020): those that change colors only."""
    for index in rng.integers(len(OPERATIONS), size=operations):
        image = OPERATIONS[index](image, magnitude, rng)
    return image


Operation = Callable[[Image.Image, float, np.random.Generator], Image.Image]


def _enhance(enhancer: type) -> Operation:
    """Return an operation by up to 90% less or more, either with the same probability."""
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
