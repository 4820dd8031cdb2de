"""Define the object detection task, measured by COCO AP."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from spinenet_tf import models
from spinenet_tf._files.progress import Track, untracked
from spinenet_tf.data.bad_images import BadImages
from spinenet_tf.data.dataset import PILLOW_MAX_PIXELS, DataError, DetectionDataset, Example
from spinenet_tf.data.formats.coco import read_coco
from spinenet_tf.data.images import read_image
from spinenet_tf.drawing.boxes import draw_detections
from spinenet_tf.evaluation.average_precision import MAX_DETECTIONS, Evaluation, crowded_images, evaluate
from spinenet_tf.evaluation.detections import Predict, detect_in_dataset, detect_in_images, in_classes_of
from spinenet_tf.heads.detector import DetectionModel
from spinenet_tf.nets.family import Net
from spinenet_tf.tasks.task import Task

logger = logging.getLogger(__name__)


class Detection(Task[DetectionDataset]):
    """Object detection: objects and their boxes."""

    monitor = "AP"
    given_by = "--annotations and --images"
    has_boxes = True
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
        return evaluate(dataset, detections, max_detections, slots)

    def draw(
        self, predict: Callable[[np.ndarray], Any], dataset: DetectionDataset, image_size: tuple[int, int], count: int
    ) -> Iterator[np.ndarray]:
        shown = islice((example for example in dataset if example.trainable.any()), count)
        draw = partial(_truth_and_found, predict, image_size=image_size, class_names=dataset.class_names)
        return (picture for example in shown for picture in draw(example))


def _truth_and_found(
    predict: Predict, example: Example, image_size: tuple[int, int], class_names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    image, real = read_image(example.path, PILLOW_MAX_PIXELS), example.trainable
    truth = draw_detections(image, example.boxes[real], example.classes[real], class_names=class_names)
    (found,) = detect_in_images(predict, [image], image_size)
    return truth, draw_detections(image, found["boxes"], found["classes"], found["scores"], class_names)
