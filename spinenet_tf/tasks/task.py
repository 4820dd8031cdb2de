"""Define the interface of a task, which training, loading, evaluation and export use."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic

import keras
import numpy as np

from spinenet_tf._files.progress import Track, untracked
from spinenet_tf.data.bad_images import BadImages
from spinenet_tf.data.classes import Dataset
from spinenet_tf.evaluation.accuracy import Accuracy
from spinenet_tf.evaluation.metrics import Evaluation
from spinenet_tf.nets.family import Net

Numbers = Evaluation | Accuracy


class Task(ABC, Generic[Dataset]):
    """How the models of a task are built, trained, evaluated and drawn."""

    monitor: ClassVar[str]  # the metric that selects the best weights; higher is better
    given_by: ClassVar[str]  # the command-line options that `given_data` reads
    has_boxes: ClassVar[bool]  # whether an evaluation has detections to save, and a report
    has_replicas: ClassVar[bool]  # whether several devices may train one model

    @abstractmethod
    def build(self, name: Net, num_classes: int, input_shape: tuple[int, int, int], **overrides: Any) -> keras.Model:
        """Build a model with new weights; raises as `models` does."""

    def compile(self, model: Any, optimizer: keras.Optimizer, **options: Any) -> None:
        """Compile a model; `options` are the loss options of a config."""
        model.compile(optimizer)

    @abstractmethod
    def given_data(self, annotations: Path | None, images: Path | None) -> Dataset | None:
        """Read the data set at these paths; return None if both are None.

        Raises:
            ValueError: the task does not accept this combination of paths, or a file is invalid.
        """

    @abstractmethod
    def check_data(self, training: Dataset, validation: Dataset, bad: BadImages, slots: int | None) -> None:
        """Check the data before training starts.

        Bad training images are recorded in `bad`. `slots` is the maximum number of detections per image, if limited.

        Raises:
            DataError: there is nothing to train or evaluate on, a validation image is bad, or too many training images
                are.
        """

    @property
    @abstractmethod
    def pipeline(self) -> Any:
        """Return the module of `data.input` that makes the batches; imported lazily, since it imports TensorFlow."""

    def training_batches(
        self, dataset: Dataset, image_size: tuple[int, int], batch_size: int, seed: int, **options: Any
    ) -> Any:
        """Return shuffled, augmented batches as a `tf.data.Dataset`: see the task's `pipeline`."""
        return self.pipeline.training_batches(dataset, image_size, batch_size, seed, **options)

    def evaluation_batches(self, dataset: Dataset, image_size: tuple[int, int], batch_size: int, **options: Any) -> Any:
        """Return all images once, in order, with their ground truth: see the task's `pipeline`."""
        return self.pipeline.evaluation_batches(dataset, image_size, batch_size, **options)

    @abstractmethod
    def measure(
        self,
        predict: Callable[[np.ndarray], Any],
        dataset: Dataset,
        image_size: tuple[int, int],
        class_names: Sequence[str],
        batch_size: int = 8,
        track: Track = untracked,
        **options: Any,
    ) -> Numbers:
        """Measure `predict`, which maps normalized images `[B, H, W, 3]` to the task's outputs.

        `class_names` are the model's. `options` are those of `evaluation_batches`; for a detector, also those of
        `average_precision.evaluate`.

        Raises:
            ValueError: the data set has a class that the model does not have, or an option is invalid.
        """

    def draw(
        self, predict: Callable[[np.ndarray], Any], dataset: Dataset, image_size: tuple[int, int], count: int
    ) -> Iterator[np.ndarray]:
        """Yield two pictures of each of the first `count` images: one with the ground truth, one with the predictions.

        Yields nothing if the task has nothing to draw.
        """
        return iter(())
