"""Measure a classifier's top-1 and top-5 accuracy, overall and per class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from spinenet_tf._files.progress import Track, untracked
from spinenet_tf.data.dataset import ClassificationDataset

Classify = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Accuracy:
    """Accuracy as fractions in 0..1. `per_class` omits classes without images."""

    top1: float
    top5: float
    per_class: dict[str, float]  # class name -> top-1 accuracy
    images: int

    def to_log(self) -> dict[str, float]:
        """Return the metrics that training logs."""
        return {"top1": self.top1, "top5": self.top5}

    def to_dict(self) -> dict[str, Any]:
        """Return the metrics as JSON-compatible values."""
        return {"top1": self.top1, "top5": self.top5, "images": self.images, "per_class": self.per_class}


def classify_dataset(
    classify: Classify,
    dataset: ClassificationDataset,
    image_size: tuple[int, int],
    batch_size: int = 8,
    track: Track = untracked,
    **options: Any,
) -> Accuracy:
    """Measure `classify`, which maps normalized images `[B, H, W, 3]` to logits `[B, C]`, on a data set.

    `options` are those of `class_pipeline.evaluation_batches`.
    """
    from spinenet_tf.data.input.class_pipeline import evaluation_batches

    batches = evaluation_batches(dataset, image_size, batch_size, **options)
    ranks, labels = [], []
    for images, numbers in track(batches.as_numpy_iterator(), int(batches.cardinality()), "Classifying"):
        ranks.append(_ranks(np.asarray(classify(images)), numbers))
        labels.append(numbers)
    return accuracy(np.concatenate(ranks), np.concatenate(labels), dataset.class_names)


def accuracy(ranks: np.ndarray, labels: np.ndarray, class_names: tuple[str, ...]) -> Accuracy:
    """Compute accuracy from the true `labels` `[N]` and their ranks `[N]` among a classifier's logits, from 0."""
    first = ranks == 0
    per_class = {name: float(first[labels == i].mean()) for i, name in enumerate(class_names) if (labels == i).any()}
    return Accuracy(float(first.mean()), float((ranks < 5).mean()), per_class, len(labels))


def _ranks(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return how many other classes score at least as high as the true one, so that ties count as errors.

    A NaN logit of the true class gets the last rank.
    """
    own = np.take_along_axis(logits, labels[:, None], axis=1)
    return np.where(np.isnan(own[:, 0]), logits.shape[1], (~(logits < own)).sum(axis=1) - 1)
