"""Draw detections on images, and many images on one sheet."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from spinenet_tf._files.writing import staged
from spinenet_tf.drawing.colors import TONES, Color, colors
from spinenet_tf.drawing.fonts import label, load_font
from spinenet_tf.drawing.masks import Encoded, draw_mask

MIN_SIDE = 320  # px; smaller pictures are enlarged by an integer factor so that labels can be read
LONGEST = 1024  # px; no picture is enlarged beyond this, and a sheet shrinks larger ones


def draw_detections(
    image: np.ndarray,
    boxes: np.ndarray,
    classes: np.ndarray,
    scores: np.ndarray | None = None,
    class_names: Sequence[str] | None = None,
    threshold: float = 0.3,
    masks: Sequence[Encoded | None] | None = None,
) -> np.ndarray:
    """Draw `boxes` `[N, 4]` (yxyx pixels) with their labels on a `[H, W, 3]` uint8 image and return the picture.

    Rows of class -1 are padding. With `scores`, rows below `threshold` are skipped and the best is drawn on top.
    `masks`, one per row or None for a row without mask, are drawn below all boxes; they may have another size than the
    image, which they cover. An image smaller than `MIN_SIDE` px is enlarged by an integer factor, up to `LONGEST` px. A
    class name with characters that the font lacks is drawn as its number.
    """
    height, width = image.shape[:2]
    zoom = max(1, min(math.ceil(MIN_SIDE / min(height, width)), LONGEST // max(height, width)))
    picture = Image.fromarray(image).resize((width * zoom, height * zoom), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(picture)
    size = max(12, min(picture.size) // 32)
    font, line = load_font(size), size // 6
    rows = _order(np.asarray(classes), scores, threshold)
    tones = 1 if masks is None else len(TONES)  # objects that touch can be told apart by their tones
    shown = list(zip(rows, colors((int(classes[row]) for row in rows), tones), strict=True))
    for row, color in shown:
        if masks is not None and (mask := masks[row]) is not None:
            draw_mask(picture, mask, color, line)
    for row, color in shown:
        number = int(classes[row])
        text = label(class_names[number], number) if class_names else str(number)
        text += "" if scores is None else f" {float(scores[row]):.2f}"
        _draw_box(pen, np.asarray(boxes[row], np.float64) * zoom, text, color, font, line)
    return np.asarray(picture)


def _order(classes: np.ndarray, scores: np.ndarray | None, threshold: float) -> np.ndarray:
    if scores is None:
        return np.flatnonzero(classes >= 0)
    scores = np.asarray(scores)
    rows = np.flatnonzero((classes >= 0) & (scores >= threshold))
    return rows[np.argsort(scores[rows], kind="stable")]


def _draw_box(
    pen: ImageDraw.ImageDraw,
    box: np.ndarray,
    text: str,
    color: Color,
    font: ImageFont.FreeTypeFont,
    line: int,
) -> None:
    """Draw a box with its label above it, or inside it if there is no room above."""
    top, left, bottom, right = box
    pen.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=color, width=line)
    _, _, text_width, text_height = pen.textbbox((0, 0), text, font=font)
    tag_width, tag_height = text_width + 2 * line, text_height + 2 * line
    x = max(0, min(left, pen.im.size[0] - tag_width))
    y = top - tag_height if top >= tag_height else top
    pen.rectangle((x, y, x + tag_width, y + tag_height), fill=color)
    bright = color[0] * 0.299 + color[1] * 0.587 + color[2] * 0.114 > 127
    pen.text((x + line, y + line), text, fill="black" if bright else "white", font=font)


def contact_sheet(images: Iterable[np.ndarray], columns: int = 4, gap: int = 6) -> np.ndarray:
    """Arrange `[H, W, 3]` uint8 images of any sizes on one white sheet, row by row, each centered in its cell.

    Images larger than `LONGEST` px are scaled down to fit.
    """
    images = [_shrunk(image) for image in images]
    if not images or columns < 1:
        raise ValueError(f"A sheet needs at least one image and one column. Received: {len(images)} images, {columns=}")
    columns = min(columns, len(images))
    height = gap + max(image.shape[0] for image in images)
    width = gap + max(image.shape[1] for image in images)
    sheet = np.full((math.ceil(len(images) / columns) * height + gap, columns * width + gap, 3), 255, np.uint8)
    for position, image in enumerate(images):
        row, column = divmod(position, columns)
        top = gap + row * height + (height - gap - image.shape[0]) // 2
        left = gap + column * width + (width - gap - image.shape[1]) // 2
        sheet[top : top + image.shape[0], left : left + image.shape[1]] = image
    return sheet


def _shrunk(image: np.ndarray) -> np.ndarray:
    if max(image.shape) <= LONGEST:
        return image
    shown = Image.fromarray(image)
    shown.thumbnail((LONGEST, LONGEST))
    return np.asarray(shown)


def save_png(path: str | Path, image: np.ndarray) -> None:
    """Write a `[H, W, 3]` uint8 image atomically. Raises as `staged` does."""
    with staged(path) as part:
        Image.fromarray(image).save(part, format="PNG")
