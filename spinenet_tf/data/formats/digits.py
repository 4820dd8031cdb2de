"""Generate the built-in data set: real handwritten digits on real photographs, written to disk as COCO.

scikit-learn ships the UCI digits and two photographs, so nothing is downloaded. The two splits share no digit image and
no region of a photograph.
"""

from __future__ import annotations

import colorsys
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageEnhance

from spinenet_tf._files.writing import new_folder
from spinenet_tf.data.dataset import DataError, DetectionDataset
from spinenet_tf.data.formats.coco import read_coco

Split = Literal["train", "val"]

SIZES = (10, 80)  # px, range of a digit's longest side
MAX_ANGLE = 20.0  # degrees in both directions: a 6 never turns into a 9
MIN_VISIBLE = 0.6  # fraction of a digit's ink that must be visible for an annotation

_VERSION = 1  # increase when the scenes of a seed change
_HELD_OUT = 0.2  # validation fraction of the digit images, and of the photographs' width
_INK = 0.4  # minimum opacity of a pixel that counts as ink
_MAX_OVERLAP = 0.25  # of two digits' boxes, as a fraction of the smaller one


@dataclass(frozen=True)
class _Sources:
    """The sources of one split: `[8, 8]` gray digits in 0..1 with labels, and RGB regions of photographs."""

    digits: np.ndarray
    labels: np.ndarray
    grounds: tuple[Image.Image, ...]


def write_digits(
    folder: str | Path,
    scenes: int,
    seed: int = 0,
    classes: int = 10,
    split: Split = "train",
    size: tuple[int, int] = (128, 160),
) -> tuple[Path, Path]:
    """Write `scenes` JPEG scenes of about `size` (height, width) and their COCO file; return (image folder, COCO file).

    They are written atomically to a subfolder of `folder`; an existing subfolder with the same contents is reused.
    Pixels depend only on `seed`, `split` and `size`: a longer set begins with the same scenes. The one-class set also
    has the same scenes, but every digit has the class "digit".

    Raises:
        DataError: the subfolder exists with other contents.
        ImportError: scikit-learn is missing.
        ValueError: an argument is out of range.
    """
    _check_arguments(scenes, seed, classes, split, size)
    contents = {
        "version": _VERSION,
        "scenes": scenes,
        "seed": seed,
        "classes": classes,
        "split": split,
        "size": [*size],
    }
    home = Path(folder) / f"digits{classes}-{split}-{scenes}-{size[0]}x{size[1]}-seed{seed}"
    if not home.exists():
        _write(home, contents)
    elif _contents(home / "annotations.json") != contents:
        raise DataError(f"{home} exists with other contents than these digits; delete it or choose another folder")
    return home / "images", home / "annotations.json"


def digits(
    folder: str | Path,
    split: Split = "train",
    scenes: int = 1000,
    classes: int = 10,
    seed: int = 0,
    size: tuple[int, int] = (128, 160),
) -> DetectionDataset:
    """Return handwritten digits on photographs as a detection data set; write them to `folder` if missing.

    This is real data that needs no download, to try a detector in minutes. The splits share no digit and no region of a
    photograph.

    Args:
        folder: The images and annotations are written to a subfolder, which later calls reuse.
        split: "train" or "val".
        scenes: The number of images. A longer set begins with the same images.
        classes: 10, or 1 for a single class "digit".
        seed: Another seed gives other scenes.
        size: Approximate height and width of a scene in px.

    Raises:
        DataError: the subfolder exists with other contents.
        ImportError: scikit-learn is missing (extra `demo`).
        ValueError: an argument is out of range.
    """
    images, annotations = write_digits(folder, scenes, seed, classes, split, size)
    return read_coco(annotations, images)


def _check_arguments(scenes: int, seed: int, classes: int, split: str, size: tuple[int, int]) -> None:
    if scenes < 1 or seed < 0:
        raise ValueError(f"`scenes` must be at least 1, and `seed` at least 0. Received: {scenes=}, {seed=}")
    if classes not in (1, 10):
        raise ValueError(f"`classes` must be 1 or 10. Received: {classes=}")
    if split not in ("train", "val"):
        raise ValueError(f"`split` must be 'train' or 'val'. Received: {split=}")
    if min(size) < 2 * SIZES[0]:
        raise ValueError(f"Height and width in `size` must be at least {2 * SIZES[0]} pixels. Received: {size=}")


def _contents(annotations: Path) -> dict | None:
    try:
        return json.loads(annotations.read_text())["info"]["contents"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(home: Path, contents: dict) -> None:
    with new_folder(home) as workplace:
        (workplace / "images").mkdir()
        coco = _draw(workplace / "images", contents)
        (workplace / "annotations.json").write_text(json.dumps(coco))


def _draw(images: Path, contents: dict) -> dict:
    """Write the scenes' image files and return their COCO dictionary."""
    split, classes = contents["split"], contents["classes"]
    sources = _sources(split)
    names = ["digit"] if classes == 1 else [str(digit) for digit in range(10)]
    coco: dict[str, Any] = {
        "info": {"description": "handwritten digits on photographs", "contents": contents},
        "categories": [{"id": i, "name": name} for i, name in enumerate(names, start=1)],
        "images": [],
        "annotations": [],
    }
    for number in range(1, contents["scenes"] + 1):
        rng = np.random.default_rng([contents["seed"], split == "val", number])
        scene, objects = _scene(rng, sources, contents["size"])
        name = f"{number:06d}.jpg"
        scene.save(images / name, quality=92)
        coco["images"].append({"id": number, "file_name": name, "height": scene.height, "width": scene.width})
        for label, opacity in objects:
            category = 1 if classes == 1 else int(label) + 1
            coco["annotations"].append(
                {"id": len(coco["annotations"]) + 1, "image_id": number, "category_id": category, "iscrowd": 0}
                | _outline(opacity)
            )
    return coco


def _sources(split: Split) -> _Sources:
    try:
        from sklearn.datasets import load_digits, load_sample_images
    except ImportError:
        raise ImportError("The digits require scikit-learn: pip install spinenet_tf[demo]") from None
    digits = load_digits()
    end = round(len(digits.target) * (1 - _HELD_OUT))
    rows = slice(0, end) if split == "train" else slice(end, None)
    grounds = tuple(_region(photo, split) for photo in load_sample_images().images)
    return _Sources(digits.images[rows] / 16.0, digits.target[rows], grounds)


def _region(photo: np.ndarray, split: Split) -> Image.Image:
    border = round(photo.shape[1] * (1 - _HELD_OUT))
    return Image.fromarray(photo[:, :border] if split == "train" else photo[:, border:])


def _scene(
    rng: np.random.Generator, sources: _Sources, size: tuple[int, int]
) -> tuple[Image.Image, list[tuple[int, np.ndarray]]]:
    """Return one picture and, per sufficiently visible digit, its label and the `[H, W]` opacity of its visible ink."""
    height, width = (round(side * rng.uniform(0.875, 1.1)) for side in rng.permutation(size))
    canvas = np.asarray(_ground(rng, sources, height, width), np.float32)
    layers: list[tuple[int, np.ndarray]] = []
    for _ in range(rng.integers(2, 7)):
        index = rng.integers(len(sources.labels))
        stroke = _stroke(rng, sources.digits[index], _size(rng, height, width))
        layer = _place(rng, stroke, np.zeros((height, width), np.float32), [_bounds(below) for _, below in layers])
        if layer is None:
            continue
        canvas += layer[..., None] * (_color(rng, canvas[layer > _INK]) - canvas)
        layers.append((sources.labels[index], layer))
    return _light(rng, Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))), list(_seen(layers))


def _ground(rng: np.random.Generator, sources: _Sources, height: int, width: int) -> Image.Image:
    """Return a random crop of a photograph at a random zoom."""
    photo = sources.grounds[rng.integers(len(sources.grounds))]
    largest = min(photo.height / height, photo.width / width)
    zoom = rng.uniform(0.5, 1.0) * min(largest, 2.0)
    w, h = width * zoom, height * zoom
    left, top = rng.uniform(0, photo.width - w), rng.uniform(0, photo.height - h)
    crop = photo.resize((width, height), Image.Resampling.BICUBIC, box=(left, top, left + w, top + h))
    return crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else crop


def _size(rng: np.random.Generator, height: int, width: int) -> int:
    """Draw the length of a digit's longest side within `SIZES`, mostly 16 to 64 px."""
    smallest, largest = np.log(SIZES)
    drawn = np.exp(rng.triangular(smallest, (smallest + largest) / 2, largest))
    return round(min(drawn, 0.75 * height, 0.75 * width))


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


def _outline(opacity: np.ndarray) -> dict:
    top, left, bottom, right = _bounds(opacity)
    return {"bbox": [left, top, right - left, bottom - top], "area": int((opacity > _INK).sum())}
