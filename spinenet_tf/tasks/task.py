"""What a task is to those who train, load, evaluate and export models without asking which task it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, NoReturn, TypeVar

import keras
import numpy as np

from spinenet_tf._files.progress import Track, untracked
from spinenet_tf.data.bad_images import BadImages
from spinenet_tf.data.classes import Dataset
from spinenet_tf.evaluation.accuracy import Accuracy
from spinenet_tf.evaluation.average_precision import Evaluation

Model = TypeVar("Model", contravariant=True)  # a trained one, whatever runs it
Numbers = Evaluation | Accuracy


def _refuse_report(*_: object, **__: object) -> NoReturn:
    raise ValueError("A report is made of a detector. Received: --report with a classifier")


@dataclass(frozen=True)
class Outcome:
    """What evaluating a model gives; its report takes what `report.write_report` takes beside the evaluation itself."""

    numbers: Numbers
    write_report: Callable[..., Path] = _refuse_report


class Task(ABC, Generic[Model, Dataset]):
    """What trains, loads, evaluates or exports a model asks its task how that is done."""

    monitor: ClassVar[str]  # the number that tells which weights are the best: the higher, the better
    given_by: ClassVar[str]  # the options by which a user gives `given_data` a data set
    has_replicas: ClassVar[bool]  # whether many devices may train one model

    @abstractmethod
    def build(self, name: str, num_classes: int, input_shape: tuple[int, int, int], **overrides: Any) -> keras.Model:
        """Build a model of the family with fresh weights; raises as `models` does."""

    def compile(self, model: Any, optimizer: keras.Optimizer, **options: Any) -> None:
        """Tell a model how it learns; `options` are those of the loss that a config sets."""
        model.compile(optimizer)

    @abstractmethod
    def given_data(self, annotations: Path | None, images: Path | None) -> Dataset | None:
        """Read the data set that a user names by annotations and images; None if neither is given.

        Raises:
            ValueError: the task does not take the two like this, or the files are at fault.
        """

    @abstractmethod
    def check_data(self, training: Dataset, validation: Dataset, bad: BadImages, slots: int | None) -> None:
        """Refuse data that nothing can be learned from or measured on, before any work is done.

        Bad images to train on are noted in `bad`. `slots` is how many things a model finds in an image at most, where
        that is bounded.

        Raises:
            DataError: there is nothing to train or to evaluate on, an image to evaluate on is bad, or too many others
                are.
        """

    @property
    @abstractmethod
    def pipeline(self) -> Any:
        """The module of `data.input` that makes the batches. It imports TensorFlow, so only its use imports it."""

    def training_batches(
        self, dataset: Dataset, image_size: tuple[int, int], batch_size: int, seed: int, **options: Any
    ) -> Any:
        """Return shuffled, augmented batches as a `tf.data.Dataset`, as `data.input` makes them."""
        return self.pipeline.training_batches(dataset, image_size, batch_size, seed, **options)

    def evaluation_batches(self, dataset: Dataset, image_size: tuple[int, int], batch_size: int, **options: Any) -> Any:
        """Return all images once, in order, and what there is to find, as `data.input` makes them."""
        return self.pipeline.evaluation_batches(dataset, image_size, batch_size, **options)

    @abstractmethod
    def measure(
        self,
        predict: Callable[[np.ndarray], Any],
        dataset: Dataset,
        image_size: tuple[int, int],
        class_names: Sequence[str],
        batch_size: int = 8,
        **options: Any,
    ) -> Numbers:
        """Measure `predict`, from normalized images `[B, H, W, 3]` to what a model of the task gives.

        `class_names` are the model's. `options` are those of `evaluation_batches`.

        Raises:
            ValueError: the data set has a class that the model does not know.
        """

    @abstractmethod
    def evaluate(
        self,
        model: Model,
        dataset: Dataset,
        max_detections: int | None = None,
        classes: Sequence[str] | None = None,
        track: Track = untracked,
    ) -> Outcome:
        """Measure a loaded model; of a detector `max_detections` of each image count, by default as many as in COCO.

        With `classes` the objects, or images, of all others are left out.

        Raises:
            ValueError: the data set has, or `classes` name, a class that the model does not know, or `max_detections`
                are too few.
        """

    def check_report(self, folder: Path, overwrite: bool) -> None:
        """Tell, before any work is done, whether a report of an evaluation may be written to `folder`.

        Raises:
            ValueError: there are no reports of this task.
            FileExistsError, FileNotFoundError: as `report.check_report_folder` does.
        """
        _refuse_report()

    def draw(
        self, predict: Callable[[np.ndarray], Any], dataset: Dataset, image_size: tuple[int, int], count: int
    ) -> Iterator[np.ndarray]:
        """Yield pictures of the first `count` images: of each what is there, and beside it what `predict` finds.

        There are none where the task has nothing to draw.
        """
        return iter(())
