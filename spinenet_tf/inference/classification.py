"""The classes of one image, as a classifier predicts them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from spinenet_tf.data.dataset import CENTER
from spinenet_tf.inference.detections import png

if TYPE_CHECKING:
    from spinenet_tf.inference.predictor import Predictor

TOP = 5  # classes that are reported by default


@dataclass(frozen=True, eq=False, repr=False)
class Classification:
    """The probability of each class for one image."""

    probabilities: np.ndarray  # [C] float64, their sum is 1
    image: np.ndarray  # [h, w, 3] uint8 RGB, upright
    class_names: tuple[str, ...]

    @property
    def label(self) -> int:
        """The number of the most likely class, 0..C-1."""
        return int(np.argmax(self.probabilities))

    @property
    def name(self) -> str:
        """The name of the most likely class."""
        return self.class_names[self.label]

    def top(self, count: int = TOP) -> list[tuple[str, float]]:
        """Return the `count` most likely classes, the best first: (name, probability) each."""
        order = np.argsort(-self.probabilities, kind="stable")[:count]
        return [(self.class_names[label], float(self.probabilities[label])) for label in order]

    def __repr__(self) -> str:
        return f"Classification({', '.join(f'{name} {score:.2f}' for name, score in self.top())})"

    def draw(self, threshold: float = 0.0) -> Image.Image:
        """Return a copy of the image, labeled with the most likely class if its probability is at least `threshold`.

        A small image is enlarged.
        """
        from spinenet_tf.drawing.boxes import draw_detections

        frame, label = np.array([[0, 0, *self.image.shape[:2]]]), np.array([self.label])
        score = self.probabilities[label]
        return Image.fromarray(draw_detections(self.image, frame, label, score, self.class_names, threshold))

    def _repr_png_(self) -> bytes:
        return png(self.draw())


def classify(model: Predictor, images: Sequence[np.ndarray]) -> list[Classification]:
    """Classify RGB images `[h, w, 3]` uint8, all in one call of the model."""
    from spinenet_tf.data.input.class_pipeline import central_crop

    center = CENTER if model.center is None else model.center
    crops = np.stack([np.asarray(central_crop(image, *model.image_size, center, model.stretch)) for image in images])
    logits = np.asarray(model.predict(crops)).astype(np.float64)
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    rows = exponents / exponents.sum(axis=1, keepdims=True)
    return [Classification(row, image, model.class_names) for row, image in zip(rows, images, strict=True)]
