"""Show the best and worst images of an evaluation, with true objects next to detected ones."""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np
from PIL import Image

from spinenet_tf.data.dataset import PILLOW_MAX_PIXELS, Example
from spinenet_tf.evaluation.confusion import Matches
from spinenet_tf.evaluation.page import element, picture

PICTURES = 6  # number of best images, and of worst images
LARGEST = (800, 800)  # px, maximum width and height of a picture
MISTAKES = 6  # maximum number of kinds of mistakes listed next to a picture


@dataclass(frozen=True, eq=False)
class Judged:
    """An image with its detections and their matches."""

    example: Example
    detections: Mapping[str, Any]
    matches: Matches


def best_and_worst(judged: Sequence[Judged]) -> tuple[list[Judged], list[Judged]]:
    """Return up to `PICTURES` images with the lowest error, and as many with the highest, without overlap."""
    defined = [image for image in judged if not math.isnan(image.matches.error)]
    ranked = sorted(defined, key=lambda image: (image.matches.error, image.matches.missed + image.matches.wrong))
    middle = (len(ranked) + 1) // 2
    return ranked[:middle][:PICTURES], ranked[middle:][::-1][:PICTURES]


def gallery(judged: Sequence[Judged], names: Sequence[str], threshold: float) -> Iterator[Element]:
    """Yield the page section of the best and worst images, or nothing if no image has objects or detections.

    Raises:
        DataError: an image cannot be decoded.
    """
    from spinenet_tf.drawing.fonts import has_glyphs

    best, worst = best_and_worst(judged)
    if best:
        yield element("h2", "Best and worst images")
        yield element(
            "p",
            "Left: true objects. Right: detected objects. The error (LRP, Oksuz et al. 2018) is 0 if every object is "
            "detected exactly and nothing else is detected, and 1 if nothing is right.",
        )
    numbered = [f"{number} {name}" for number, name in enumerate(names) if not has_glyphs(name)]
    if best and numbered:
        yield element("p", f"Classes shown by number, since the font cannot draw their names: {', '.join(numbered)}.")
    for title, images in (("Best", best), ("Worst", worst)):
        if images:
            yield element("h3", title)
            yield from (_figure(image, names, threshold) for image in images)


def _figure(judged: Judged, names: Sequence[str], threshold: float) -> Element:
    name, matches = judged.example.path.name, judged.matches
    true, found = _draw(judged, names, threshold)
    counts = f"{matches.right} right, {matches.missed} missed, {matches.wrong} wrong; error {matches.error:.2f}"
    mistakes = element("ul", *(element("li", text) for text in _mistakes(matches, names)))
    return element(
        "figure",
        picture(_jpeg(true), "jpeg", f"true objects in {name}"),
        picture(_jpeg(found), "jpeg", f"detected objects in {name}"),
        element("figcaption", element("strong", name), element("br"), counts, mistakes),
    )


def _draw(judged: Judged, names: Sequence[str], threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Return two pictures of an image: with its true objects, and with the detected ones."""
    from spinenet_tf.data.images import read_image
    from spinenet_tf.drawing.boxes import MIN_SIDE, draw_detections
    from spinenet_tf.drawing.fonts import labels_with_crowds

    example, found = judged.example, judged.detections
    image = Image.fromarray(read_image(example.path, PILLOW_MAX_PIXELS))  # no lower limit: evaluation has read it
    # Shrink the image before drawing, so that labels stay readable.
    scale = min(1.0, MIN_SIDE / min(image.size))
    small = np.asarray(image.resize([max(1, round(side * scale)) for side in image.size]))
    true_kinds = example.classes + len(names) * example.crowd
    boxes = np.asarray(found["boxes"], np.float64).reshape(-1, 4) * scale
    masks = found.get("masks")
    true_masks = None if masks is None else example.masks  # a model without masks is judged by its boxes
    true = (example.boxes * scale, true_kinds, None, labels_with_crowds(names))
    detected = (boxes, np.asarray(found["classes"]), found["scores"], names, threshold)
    return draw_detections(small, *true, masks=true_masks), draw_detections(small, *detected, masks=masks)


def _mistakes(matches: Matches, names: Sequence[str]) -> Iterator[str]:
    """Yield a description of each kind of mistake, most frequent first."""
    pairs = Counter(zip(matches.true.tolist(), matches.found.tolist(), strict=True))
    mistakes = [(*pair, count) for pair, count in pairs.most_common() if pair[0] != pair[1]]
    for true, found, count in mistakes[:MISTAKES]:
        times = f" ({count} times)" if count > 1 else ""
        if found == matches.background:
            yield f"{names[true]} missed{times}"
        elif true == matches.background:
            yield f"{names[found]} detected where there is none{times}"
        else:
            yield f"{names[true]} detected as {names[found]}{times}"
    if len(mistakes) > MISTAKES:
        yield "and others"


def _jpeg(image: np.ndarray) -> bytes:
    shown, file = Image.fromarray(image), io.BytesIO()
    shown.thumbnail(LARGEST)
    shown.save(file, format="JPEG", quality=85)
    return file.getvalue()
