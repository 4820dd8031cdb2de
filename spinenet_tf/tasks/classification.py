"""Define the image classification task, measured by top-1 and top-5 accuracy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from spinenet_tf import models
from spinenet_tf._files.progress import Track, untracked
from spinenet_tf.data.bad_images import BadImages
from spinenet_tf.data.classes import check_known, only_classes
from spinenet_tf.data.dataset import ClassificationDataset
from spinenet_tf.data.formats.image_folder import read_image_folder
from spinenet_tf.evaluation.accuracy import Accuracy, classify_dataset
from spinenet_tf.heads.model import HeadModel
from spinenet_tf.nets.family import Net
from spinenet_tf.tasks.task import Task


class Classification(Task[ClassificationDataset]):
    """Image classification: one class per image."""

    monitor = "top1"
    given_by = "--images, a folder of class folders"
    has_boxes = False
    has_replicas = False

    def build(self, name: Net, num_classes: int, input_shape: tuple[int, int, int], **overrides: Any) -> HeadModel:
        return models.classifier(name, num_classes, input_shape, **overrides)

    def compile(self, model: HeadModel, optimizer: keras.Optimizer, **options: Any) -> None:
        model.compile_for_labels(optimizer, **options)

    def given_data(self, annotations: Path | None, images: Path | None) -> ClassificationDataset | None:
        if annotations:
            raise ValueError("A classifier takes --images, a folder of class folders, and no --annotations.")
        return read_image_folder(images) if images else None

    def check_data(
        self, training: ClassificationDataset, validation: ClassificationDataset, bad: BadImages, slots: int | None
    ) -> None:
        self.pipeline.check_images(training, bad)
        self.pipeline.check_images(validation)

    @property
    def pipeline(self) -> Any:
        from spinenet_tf.data.input import class_pipeline

        return class_pipeline

    def measure(
        self,
        predict: Callable[[np.ndarray], Any],
        dataset: ClassificationDataset,
        image_size: tuple[int, int],
        class_names: Sequence[str],
        batch_size: int = 8,
        track: Track = untracked,
        **options: Any,
    ) -> Accuracy:
        check_known(dataset, class_names)
        known = only_classes(dataset, class_names)
        return classify_dataset(predict, known, image_size, batch_size, track, **options)
