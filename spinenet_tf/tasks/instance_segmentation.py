"""Define the instance segmentation task: object detection with a mask per object, measured by COCO AP of the masks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from spinenet_tf.data.bad_images import BadImages
from spinenet_tf.data.dataset import DetectionDataset
from spinenet_tf.evaluation.average_precision import check_masks
from spinenet_tf.evaluation.metrics import Evaluation
from spinenet_tf.tasks.detection import Detection

MASK_SIZE = 112  # px of the masks in a batch, as in TF Model Garden


class InstanceSegmentation(Detection):
    """Instance segmentation: objects, their boxes and their masks."""

    monitor = "mask_AP"
    has_masks = True

    def check_data(
        self, training: DetectionDataset, validation: DetectionDataset, bad: BadImages, slots: int | None
    ) -> None:
        check_masks(training, all_objects=False)
        check_masks(validation)
        super().check_data(training, validation, bad, slots)

    def training_batches(self, *arguments: Any, **options: Any) -> Any:
        return super().training_batches(*arguments, **options | {"mask_size": MASK_SIZE})

    def measure(
        self, predict: Callable[[np.ndarray], Any], dataset: DetectionDataset, *arguments: Any, **options: Any
    ) -> Evaluation:
        check_masks(dataset)  # before the detection, which may take long
        return super().measure(predict, dataset, *arguments, **options)
