"""Draw a scene of the built-in data set: real handwritten digits on a crop of a real photograph.

scikit-learn ships the UCI digits and two photographs, so nothing is downloaded. The two splits share no digit image and
no region of a photograph.
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, ImageEnhance

from spinenet_tf.data.masks import RunLengthMask

Split = Literal["train", "val"]
Range = tuple[int, int]

SIZES = (10, 80)  # px, default range of a digit's longest side
SMALLEST = 8  # px, the resolution of the digit images
MAX_ANGLE = 20.0  # degrees in both directions: a 6 never turns into a 9
MIN_VISIBLE = 0.6  # fraction of a digit's ink that must be visible for an annotation

_HELD_OUT = 0.2  # validation fraction of the digit images, and of the photographs' width
_INK = 0.4  # minimum opacity of a pixel that counts as ink
_MAX_OVERLAP = 0.25  # of two digits' boxes, as a fraction of the smaller one
_LARGEST = 0.75  # of a digit's longest side, as a fraction of each side of the scene


@dataclass(frozen=True)
class Sources:
    """The sources of one split: `[8, 8]` gray digits in 0..1 with labels, and RGB regions of photographs."""

    digits: np.ndarray
    labels: np.ndarray
    grounds: tuple[Image.Image, ...]


def read_sources(split: Split) -> Sources:
    """Return the sources of a split.

    Raises:
        ImportError: scikit-learn is missing.
    """
    try:
        from sklearn.datasets import load_digits, load_sample_images
    except ImportError:
        raise ImportError("The digits require scikit-learn: pip install spinenet_tf[demo]") from None
    digits = load_digits()
    end = round(len(digits.target) * (1 - _HELD_OUT))
    rows = slice(0, end) if split == "train" else slice(end, None)
    grounds = tuple(_region(photo, split) for photo in load_sample_images().images)
    return Sources(digits.images[rows] / 16.0, digits.target[rows], grounds)


def _region(photo: np.ndarray, split: Split) -> Image.Image:
    border = round(photo.shape[1] * (1 - _HELD_OUT))
    return Image.fromarray(photo[:, :border] if split == "train" else photo[:, border:])


def draw_scene(
    rng: np.random.Generator, sources: Sources, size: tuple[int, int], digit_sizes: Range | None = None
) -> tuple[Image.Image, list[tuple[int, np.ndarray]]]:
    """Return one picture and, per sufficiently visible digit, its label and the `[H, W]` opacity of its visible ink.

    `size` is the approximate height and width, `digit_sizes` as in `digits.digits`.
    """
    height, width = (round(side * rng.uniform(0.875, 1.1)) for side in rng.permutation(size))
    canvas = np.asarray(_ground(rng, sources, height, width), np.float32)
    layers: list[tuple[int, np.ndarray]] = []
    for _ in range(rng.integers(2, 7)):
        index = rng.integers(len(sources.labels))
        stroke = _stroke(rng, sources.digits[index], _size(rng, height, width, digit_sizes))
        layer = _place(rng, stroke, np.zeros((height, width), np.float32), [_bounds(below) for _, below in layers])
        if layer is None:
            continue
        canvas += layer[..., None] * (_color(rng, canvas[layer > _INK]) - canvas)
        layers.append((sources.labels[index], layer))
    return _light(rng, Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))), list(_seen(layers))


def _ground(rng: np.random.Generator, sources: Sources, height: int, width: int) -> Image.Image:
    """Return a random crop of a photograph at a random zoom."""
    photo = sources.grounds[rng.integers(len(sources.grounds))]
    largest = min(photo.height / height, photo.width / width)
    zoom = rng.uniform(0.5, 1.0) * min(largest, 2.0)
    w, h = width * zoom, height * zoom
    left, top = rng.uniform(0, photo.width - w), rng.uniform(0, photo.height - h)
    crop = photo.resize((width, height), Image.Resampling.BICUBIC, box=(left, top, left + w, top + h))
    return crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else crop


def _size(rng: np.random.Generator, height: int, width: int, digit_sizes: Range | None) -> int:
    """Draw the length of a digit's longest side: mostly 16 to 64 px, or each octave of `digit_sizes` alike."""
    smallest, largest = np.log(SIZES if digit_sizes is None else digit_sizes)
    if digit_sizes is None:
        drawn = np.exp(rng.triangular(smallest, (smallest + largest) / 2, largest))
    else:
        drawn = np.exp(rng.uniform(smallest, largest))
    return round(min(drawn, _LARGEST * height, _LARGEST * width))


def _stroke(rng: np.random.Generator, digit: np.ndarray, size: int) -> np.ndarray:
    """Return the opacity `[h, w]` in 0..1 of a slightly rotated digit whose longest side is `size` pixels."""
    gray = Image.fromarray((np.pad(digit, 3) * 255).astype(np.uint8)).resize((112, 112), Image.Resampling.BICUBIC)
    gray = gray.rotate(rng.uniform(-MAX_ANGLE, MAX_ANGLE), Image.Resampling.BICUBIC)
    opacity = np.clip((np.asarray(gray, np.float32) / 255 - 0.33) / 0.3, 0, 1)
    top, left, bottom, right = _bounds(opacity)
    scale = size / max(bottom - top, right - left)
    shape = (max(2, round((right - left) * scale)), max(2, round((bottom - top) * scale)))
    return np.asarray(Image.fromarray(opacity).resize(shape, Image.Resampling.BILINEAR, box=(left, top, right, bottom)))


def _place(
    rng: np.random.Generator, stroke: np.ndarray, layer: np.ndarray, taken: list[tuple[int, int, int, int]]
) -> np.ndarray | None:
    """Place the stroke randomly in the empty `layer`; return None if 20 tries find no room beside the boxes `taken`."""
    h, w = stroke.shape
    for _ in range(20):
        top, left = rng.integers(layer.shape[0] - h + 1), rng.integers(layer.shape[1] - w + 1)
        if all(_overlap((top, left, top + h, left + w), box) <= _MAX_OVERLAP for box in taken):
            layer[top : top + h, left : left + w] = stroke
            return layer
    return None


def _overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> float:
    """Return the intersection of two yxyx boxes over the smaller one's area."""
    height, width = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return max(0, height) * max(0, width) / smaller


def _color(rng: np.random.Generator, ground: np.ndarray) -> np.ndarray:
    """Return a random RGB color that contrasts with the pixels `ground` `[pixels, 3]` underneath."""
    if ground.mean() > 127:
        saturation, value = rng.uniform(0.3, 1.0), rng.uniform(0.0, 0.35)
    else:
        saturation, value = rng.uniform(0.0, 0.45), rng.uniform(0.9, 1.0)
    return 255 * np.array(colorsys.hsv_to_rgb(rng.random(), saturation, value), np.float32)


def _light(rng: np.random.Generator, scene: Image.Image) -> Image.Image:
    """Change brightness, contrast and color randomly."""
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        scene = enhance(scene).enhance(rng.uniform(0.7, 1.3))
    return scene


def _seen(layers: list[tuple[int, np.ndarray]]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield label and visible ink of the digits that later ones do not hide, bottom to top."""
    for position, (label, layer) in enumerate(layers):
        ink = layer > _INK
        visible = np.where(ink & ~np.any([above > _INK for _, above in layers[position + 1 :]], axis=0), layer, 0)
        if np.count_nonzero(visible) >= MIN_VISIBLE * np.count_nonzero(ink):
            yield label, visible


def _bounds(opacity: np.ndarray) -> tuple[int, int, int, int]:
    """Return the yxyx pixel box around the ink of `[H, W]`."""
    ink = opacity > _INK
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def outline(opacity: np.ndarray) -> dict:
    """Return the box, the area and the mask of the ink of `[H, W]` as fields of a COCO annotation."""
    (top, left, bottom, right), ink = _bounds(opacity), opacity > _INK
    box = [left, top, right - left, bottom - top]
    return {"bbox": box, "area": int(ink.sum()), "segmentation": RunLengthMask.of(ink).rle()}
