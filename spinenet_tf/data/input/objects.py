"""Look up objects of images, and crop their masks, as operations of a `tf.data` graph.

No whole mask is kept for a batch: a mask is decoded when its crop is made.
"""

from __future__ import annotations

import logging
from itertools import compress

import numpy as np
import tensorflow as tf

from spinenet_tf.data.dataset import DataError, DetectionDataset, Example
from spinenet_tf.data.input.augment import Objects
from spinenet_tf.data.masks import Mask
from spinenet_tf.ops.python_calls import numpy_function

PADDING = -1.0  # value of the masks of padding rows, as in TF Model Garden

logger = logging.getLogger(__name__)


class ObjectTable:
    """The objects that are trained on, without crowds; with `mask_size`, only those that have a mask.

    Raises:
        DataError: with `mask_size`, no object has a mask. If only some have none, they are counted in a warning.
        ValueError: `mask_size` is less than 2.
    """

    def __init__(self, dataset: DetectionDataset, mask_size: int | None = None):
        self._mask_size = mask_size or 0
        chosen = [example.trainable for example in dataset]
        if mask_size is not None:
            if mask_size < 2:
                raise ValueError(f"`mask_size` must be at least 2. Received: {mask_size=}")
            check_masks(dataset)
            chosen = [kept & _masked(example) for kept, example in zip(chosen, dataset, strict=True)]
        pairs = list(zip(dataset, chosen, strict=True))
        self._ends = tf.constant(np.cumsum([0, *(int(kept.sum()) for kept in chosen)]), tf.int64)
        self._boxes = tf.constant(np.concatenate([example.boxes[kept] for example, kept in pairs]))
        self._classes = tf.constant(np.concatenate([example.classes[kept] for example, kept in pairs]))
        masks = (mask for example, kept in pairs for mask in compress(example.masks or (), kept))
        self._masks: list[Mask] = [mask for mask in masks if mask is not None]
        self.most = max(int(kept.sum()) for kept in chosen)  # objects of an image

    def __call__(self, index: tf.Tensor) -> Objects:
        """Return the objects of an image as `augment` describes them, with boxes in pixels of the file."""
        rows = slice(self._ends[index], self._ends[index + 1])
        objects = {"boxes": self._boxes[rows], "classes": self._classes[rows]}
        if not self._mask_size:
            return objects
        return objects | {"windows": objects["boxes"], "numbers": tf.range(rows.start, rows.stop)}

    def targets(self, objects: Objects) -> Objects:
        """Return "boxes", "classes" and, if wanted, "masks" `[N, mask_size, mask_size]` float32 of padded objects."""
        targets = {key: objects[key] for key in ("boxes", "classes")}
        if not self._mask_size:
            return targets
        numbers, side = objects["numbers"], self._mask_size
        crops = numpy_function(self._crops, [numbers, objects["windows"]], tf.float32)
        return targets | {"masks": tf.ensure_shape(crops, [*numbers.shape, side, side])}

    def _crops(self, numbers: np.ndarray, windows: np.ndarray) -> np.ndarray:
        crops = np.full((len(numbers), self._mask_size, self._mask_size), PADDING, np.float32)
        for row in np.flatnonzero(numbers >= 0):
            crops[row] = self._masks[numbers[row]].crop(windows[row], self._mask_size)
        return crops


def check_masks(dataset: DetectionDataset) -> None:
    """Raise DataError if no object of a data set has a mask, except crowds; warn of objects without a mask."""
    total = sum(int(example.trainable.sum()) for example in dataset)
    masked = sum(int((example.trainable & _masked(example)).sum()) for example in dataset)
    if not masked:
        raise DataError(f"{dataset.name}: there are no masks to train on")
    if masked < total:
        logger.warning("%s: %d of %d objects have no mask, and are left out", dataset.name, total - masked, total)


def _masked(example: Example) -> np.ndarray:
    """Return `[N]` bool: which objects have a mask."""
    return np.array([mask is not None for mask in example.masks or [None] * len(example.boxes)], np.bool_)
