"""Define the object detection task, measured by COCO AP."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import compress, islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from spinenet_tf import models
from spinenet_tf._files.progress import Track, untracked
from spinenet_tf.data.bad_images import BadImages
from spinenet_tf.data.dataset import PILLOW_MAX_PIXELS, DataError, DetectionDataset, Example
from spinenet_tf.data.formats.coco import read_coco
from spinenet_tf.data.images import read_image
from spinenet_tf.drawing.boxes import draw_detections
from spinenet_tf.evaluation.average_precision import crowded_images, evaluate
from spinenet_tf.evaluation.detections import detect_in_dataset, detect_in_images, in_classes_of
from spinenet_tf.evaluation.metrics import MAX_DETECTIONS, Evaluation
from spinenet_tf.heads.detector import DetectionModel
from spinenet_tf.nets.family import Net
from spinenet_tf.tasks.task import Task

logger = logging.getLogger(__name__)


class Detection(Task[DetectionDataset]):
    """Object detection: objects and their boxes."""

    monitor = "AP"
    given_by = "--annotations and --images"
    has_boxes = True
    has_masks: ClassVar[bool] = False  # whether masks are measured and drawn too
    has_replicas = True

    def build(self, name: Net, num_classes: int, input_shape: tuple[int, int, int], **overrides: Any) -> DetectionModel:
        return models.detector(name, num_classes, input_shape, **overrides)

    def given_data(self, annotations: Path | None, images: Path | None) -> DetectionDataset | None:
        if (annotations is None) != (images is None):
            raise ValueError("Pass --annotations and --images together.")
        return None if annotations is None or images is None else read_coco(annotations, images)

    def check_data(
        self, training: DetectionDataset, validation: DetectionDataset, bad: BadImages, slots: int | None
    ) -> None:
        self.pipeline.check_trainable(training)
        if not any(example.trainable.any() for example in validation):
            raise DataError(f"{validation.name}: the validation data has no objects.")
        self.pipeline.check_images(training, bad)
        self.pipeline.check_images(validation)
        if crowded := crowded_images(validation, MAX_DETECTIONS, slots):
            warning = "%s: %d images have more objects than detections are counted, which limits val_AP"
            logger.warning(warning, validation.name, crowded)

    @property
    def pipeline(self) -> Any:
        from spinenet_tf.data.input import pipeline

        return pipeline

    def measure(
        self,
        predict: Callable[[np.ndarray], Any],
        dataset: DetectionDataset,
        image_size: tuple[int, int],
        class_names: Sequence[str],
        batch_size: int = 8,
        track: Track = untracked,
        max_detections: int = MAX_DETECTIONS,
        slots: int | None = None,
        **options: Any,
    ) -> Evaluation:
        found = detect_in_dataset(predict, dataset, image_size, batch_size, **options)
        detections = track(in_classes_of(dataset, class_names, found), len(dataset), "Detecting")
        return evaluate(dataset, detections, max_detections, slots, self.has_masks)

    def draw(
        self, predict: Callable[[np.ndarray], Any], dataset: DetectionDataset, image_size: tuple[int, int], count: int
    ) -> Iterator[np.ndarray]:
        for example in islice((example for example in dataset if example.trainable.any()), count):
            image = read_image(example.path, PILLOW_MAX_PIXELS)
            yield self._draw(image, _truth(example), dataset.class_names)
            (found,) = detect_in_images(predict, [image], image_size)
            yield self._draw(image, found, dataset.class_names)

    def _draw(self, image: np.ndarray, shown: Mapping[str, Any], class_names: Sequence[str]) -> np.ndarray:
        masks = shown["masks"] if self.has_masks else None
        columns = (shown["boxes"], shown["classes"], shown.get("scores"))
        return draw_detections(image, *columns, class_names, masks=masks)


def _truth(example: Example) -> dict[str, Any]:
    """Return the objects of an image, without crowds, in the form of detections without scores."""
    real = example.trainable
    masks = None if example.masks is None else tuple(compress(example.masks, real))
    return {"boxes": example.boxes[real], "classes": example.classes[real], "masks": masks}
