"""Anchors of a dense detector: the same box shapes at every location of every level (paper, section 5.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from keras import ops

from spinenet_tf.ops.boxes import Tensor
from spinenet_tf.ops.levels import level_size


@dataclass(frozen=True)
class AnchorSpec:
    """Describe the anchors of a detector. The defaults are the paper's.

    Raises:
        ValueError: if a field cannot describe anchors.
    """

    min_level: int = 3  # the finest level, whose stride is 2**min_level pixels
    max_level: int = 7  # the coarsest level
    num_scales: int = 3  # sizes per octave: 2**(0 / num_scales), 2**(1 / num_scales), ...
    aspect_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)  # width / height
    size: float = 3.0  # side of the smallest square anchor in strides (paper: 4.0 for SpineNet-143 and 190)

    def __post_init__(self) -> None:
        # YAML and JSON have lists and whole numbers; a spec that was written and read must equal the original.
        object.__setattr__(self, "aspect_ratios", tuple(float(ratio) for ratio in self.aspect_ratios))
        object.__setattr__(self, "size", float(self.size))
        if not 0 <= self.min_level <= self.max_level:
            raise ValueError(
                f"`min_level` must be at least 0 and at most `max_level`. "
                f"Received: min_level={self.min_level}, max_level={self.max_level}"
            )
        if self.num_scales < 1:
            raise ValueError(f"`num_scales` must be at least 1. Received: num_scales={self.num_scales}")
        if not self.aspect_ratios or not all(0 < ratio < float("inf") for ratio in self.aspect_ratios):
            raise ValueError(f"`aspect_ratios` must be positive numbers. Received: aspect_ratios={self.aspect_ratios}")
        if not 0 < self.size < float("inf"):
            raise ValueError(f"`size` must be positive. Received: size={self.size}")

    @property
    def per_location(self) -> int:
        """The number of anchors at each location of a level (A)."""
        return self.num_scales * len(self.aspect_ratios)

    def sides(self, level: int) -> np.ndarray:
        """Return the height and width of each anchor of `level`, `[A, 2]` float32 pixels: scale-major, then aspect."""
        bases = self.size * 2.0 ** (level + np.arange(self.num_scales) / self.num_scales)
        roots = np.sqrt(self.aspect_ratios)
        sides = np.stack([bases[:, None] / roots, bases[:, None] * roots], axis=-1)
        return sides.reshape(-1, 2).astype("float32")


def anchors(height: int | Tensor, width: int | Tensor, spec: AnchorSpec) -> dict[str, Tensor]:
    """Return the anchors of an image of `height` x `width` pixels, by level name.

    Returns:
        {"P3": `[H3 * W3 * A, 4]`, ...} float32 yxyx pixels, ordered by row, column, scale and aspect ratio; NumPy
        arrays if the sizes are Python ints. Centers lie at (i + 0.5) * 2**level; boxes may extend beyond the image.
    """
    return {f"P{level}": _level(height, width, level, spec) for level in range(spec.min_level, spec.max_level + 1)}


def concatenate(levels: Mapping[str, Tensor]) -> Tensor:
    """Concatenate {"P3": `[..., N3, K]`, "P4": ...} to `[..., N, K]`, from the finest level to the coarsest.

    The order comes from the names, because JAX returns dicts with sorted keys.
    """
    parts = [levels[name] for name in sorted(levels, key=lambda name: int(name.removeprefix("P")))]
    join = np.concatenate if all(isinstance(part, np.ndarray) for part in parts) else ops.concatenate
    return join(parts, axis=-2)


def per_anchor(maps: Mapping[str, Tensor], values: int) -> Tensor:
    """Reshape a head's maps {"P3": `[B, H3, W3, A * values]`, ...} to `[B, N, values]`, one row per anchor."""
    return concatenate({level: _rows(x, values) for level, x in maps.items()})


def _rows(x: Tensor, values: int) -> Tensor:
    batch, height, width, channels = ops.shape(x)
    return ops.reshape(x, (batch, height * width * (channels // values), values))


def _level(height: int | Tensor, width: int | Tensor, level: int, spec: AnchorSpec) -> Tensor:
    half = 0.5 * spec.sides(level)  # [A, 2]
    if isinstance(height, int) and isinstance(width, int):  # constants, in every exported graph too
        y, x = (_static_centers(side, level) for side in (height, width))
        centers = np.stack(np.meshgrid(y, x, indexing="ij"), axis=-1)[:, :, None]  # [H, W, 1, 2]
        return np.concatenate([centers - half, centers + half], axis=-1).reshape(-1, 4)
    y, x = (_centers(side, level) for side in (height, width))
    centers = ops.stack(ops.meshgrid(y, x, indexing="ij"), axis=-1)[:, :, None]
    return ops.reshape(ops.concatenate([centers - half, centers + half], axis=-1), (-1, 4))


def _static_centers(side: int, level: int) -> np.ndarray:
    return (np.arange(level_size(side, level), dtype=np.float32) + np.float32(0.5)) * np.float32(2.0**level)


def _centers(side: int | Tensor, level: int) -> Tensor:
    return (ops.cast(ops.arange(level_size(side, level)), "float32") + 0.5) * 2.0**level
