"""A trained model of any format, which takes images and returns what is in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from spinenet_tf.inference.classification import classify
from spinenet_tf.inference.detections import detect
from spinenet_tf.inference.images import as_pixels

_RESULTS: dict[str, Callable[[Any, list[np.ndarray]], list[Any]]]
_RESULTS = {"detection": detect, "instance segmentation": detect, "classification": classify}  # by task


@dataclass(frozen=True, eq=False)
class Predictor:
    """A trained detector or classifier. `spinenet_tf.load` makes it; threads may share it.

    Call it with an image or a list of images. An image is the path of a file, a PIL image, or an array `[h, w, 3]`
    uint8 of any size. Channels are red, green, blue: pass `image[..., ::-1]` of an image that OpenCV read. Files and
    PIL images are turned upright by their EXIF orientation, and converted to RGB without alpha.

    `predict` is the model alone: from normalized images `[B, H, W, 3]` of `image_size` to NumPy arrays, the results of
    `DetectionModel.predict` or logits `[B, C]`. It raises ValueError as `checks.check_images` does.
    """

    predict: Callable[[np.ndarray], Any]
    image_size: tuple[int, int]  # height and width of the model's input
    class_names: tuple[str, ...]  # by class; a class without a name is named by its number
    max_detections: int | None = None  # limit per image, if known
    category_ids: tuple[int, ...] | None = None  # of the training set's COCO file, by class, if known
    task: str = "detection"  # or another of `TASKS`
    center: float | None = None  # side of a classifier's central crop: see `class_pipeline.central_crop`
    stretch: bool = False  # whether images, or their central crops, are stretched: see `data.fitting.stretched`
    batch_size: int = 1  # images per call of `predict`

    def __call__(self, images: Any) -> Any:
        """Return the `Detections` or the `Classification` of an image, or a list of them for a list of images.

        Raises:
            ValueError: an image does not decode, or is something else; for a list, the message says which one, and no
                image was run.
        """
        if not isinstance(images, list | tuple):
            return next(self._results([as_pixels(images)]))
        return list(self._results([_numbered(number, image) for number, image in enumerate(images)]))

    def stream(self, images: Iterable[Any]) -> Iterator[Any]:
        """Yield the result of each image, in order; the images are read batch by batch, so that many fit into memory.

        Raises:
            ValueError: an image does not decode, or is something else.
        """
        return self._results(map(as_pixels, images))

    def _results(self, images: Iterable[np.ndarray]) -> Iterator[Any]:
        images = iter(images)
        while batch := list(islice(images, self.batch_size)):
            yield from _RESULTS[self.task](self, batch)


def _numbered(number: int, image: Any) -> np.ndarray:
    try:
        return as_pixels(image)
    except ValueError as error:
        raise ValueError(f"images[{number}]: {error}") from error
