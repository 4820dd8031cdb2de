"""What is done with the models of a task, from training to use: one object for each task that a config may name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar

from rich.console import Console
from rich.progress import track

from spinenet_tf._files.messages import some_of
from spinenet_tf.data.classes import Dataset, only_classes
from spinenet_tf.data.dataset import ClassificationDataset, DetectionDataset
from spinenet_tf.data.formats.coco import read_coco
from spinenet_tf.data.formats.image_folder import read_image_folder
from spinenet_tf.evaluation import coco, report
from spinenet_tf.evaluation.accuracy import Accuracy
from spinenet_tf.evaluation.detections import detect_in_dataset, in_classes_of
from spinenet_tf.heads.detector import DetectionModel
from spinenet_tf.heads.model import HeadModel
from spinenet_tf.inference.class_predictor import ClassPredictor, classify_files, load_classifier
from spinenet_tf.inference.predictor import Predictor, detect_in_files, load_predictor
from spinenet_tf.nets.base import SpineNetModel
from spinenet_tf.training.config import TrainConfig
from spinenet_tf.training.run import Run

Model = TypeVar("Model")  # a trained one, ready for use
Data = TypeVar("Data")


def _refuse_report(*_: object, **__: object) -> NoReturn:
    raise ValueError("A report is made of a detector. Received: --report with a classifier")


def _chosen(dataset: Dataset, classes: Sequence[str] | None, known: Sequence[str]) -> Dataset:
    """Return what the data set has of `classes`, which a model with the classes `known` must know; all for None."""
    if classes is None:
        return dataset
    if lacking := [name for name in classes if name not in known]:
        raise ValueError(
            f"The model does not know these classes, only {some_of(known, form=repr)}. "
            f"Received: {some_of(lacking, form=repr)}"
        )
    if len(set(classes)) < len(classes):
        raise ValueError(f"A class is there twice. Received: {some_of(classes, form=repr)}")
    if not set(classes) & set(dataset.class_names):
        raise ValueError(f"{dataset.name} has none of these classes. Received: {some_of(classes, form=repr)}")
    return only_classes(dataset, classes)


@dataclass(frozen=True)
class Outcome:
    """What evaluating a model gives; its report takes what `report.write_report` takes beside the evaluation itself."""

    numbers: coco.Evaluation | Accuracy
    write_report: Callable[..., Path] = _refuse_report


class Task(ABC, Generic[Model, Data]):
    """What the commands do with a config or a model, each task in its way; a `console` shows how far they are."""

    @abstractmethod
    def train(self, config: TrainConfig, folder: Path, **options: bool) -> SpineNetModel:
        """Train a model as its config says and write the run to `folder`: options and errors of `recipe.train`."""

    @abstractmethod
    def load(self, path: Path, max_detections: int | None = None) -> Model:
        """Load a run's best weights, or a file; a detector may give up to `max_detections` of an image.

        Raises:
            FileNotFoundError, ValueError: there is no model of this task at `path`, or it gives no such number.
        """

    @abstractmethod
    def given_data(self, annotations: Path | None, images: Path | None) -> Data | None:
        """Read the data set that a user names by annotations and images; None if neither is given.

        Raises:
            ValueError: the task does not take the two like this, or the files are at fault.
        """

    @abstractmethod
    def own_data(self, path: Path) -> Data:
        """Read the validation data of the model at `path`.

        Raises:
            ValueError: it has none, or they are at fault.
        """

    def data(self, path: Path, annotations: Path | None, images: Path | None) -> Data:
        """Read what the model at `path` is evaluated on: what is given, or its own; raises as either does."""
        given = self.given_data(annotations, images)
        return self.own_data(path) if given is None else given

    @abstractmethod
    def evaluate(
        self,
        model: Model,
        dataset: Data,
        console: Console,
        max_detections: int | None = None,
        classes: Sequence[str] | None = None,
    ) -> Outcome:
        """Measure a model; of a detector `max_detections` of each image count, by default as many as COCO counts.

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

    @abstractmethod
    def predict(self, model: Model, files: Sequence[Path], output: Path, threshold: float, console: Console) -> None:
        """Write what a model sees in image files to the folder `output`, and say so on the console.

        Raises:
            DataError: an image does not decode; nothing is written then.
        """


class Detection(Task[Predictor, DetectionDataset]):
    """Objects and their boxes. A model is the folder of a run or a .tflite file."""

    def train(self, config: TrainConfig, folder: Path, **options: bool) -> DetectionModel:
        from spinenet_tf.training.recipe import train

        return train(config, folder, **options)

    def load(self, path: Path, max_detections: int | None = None) -> Predictor:
        return load_predictor(path, max_detections)

    def given_data(self, annotations: Path | None, images: Path | None) -> DetectionDataset | None:
        if (annotations is None) != (images is None):
            raise ValueError("--annotations and --images go together.")
        return None if annotations is None or images is None else read_coco(annotations, images)

    def own_data(self, path: Path) -> DetectionDataset:
        if not path.is_dir():
            raise ValueError("A .tflite file has no data of its own: give --annotations and --images.")
        return Run(path).config().own_data().read("val")

    def evaluate(
        self,
        model: Predictor,
        dataset: DetectionDataset,
        console: Console,
        max_detections: int | None = None,
        classes: Sequence[str] | None = None,
    ) -> Outcome:
        dataset = _chosen(dataset, classes, model.class_names)
        found = in_classes_of(dataset, model.class_names, detect_in_dataset(model.predict, dataset, model.image_size))
        detections = list(track(found, "Detecting", len(dataset), console=console))
        numbers = coco.evaluate(dataset, detections, max_detections or coco.MAX_DETECTIONS, slots=model.max_detections)
        write_report = partial(report.write_report, dataset=dataset, detections=detections, numbers=numbers)
        return Outcome(numbers, write_report)

    def check_report(self, folder: Path, overwrite: bool) -> None:
        report.check_report_folder(folder, overwrite)

    def predict(
        self, model: Predictor, files: Sequence[Path], output: Path, threshold: float, console: Console
    ) -> None:
        detected = detect_in_files(model, files, output, threshold)
        count = sum(1 for _ in track(detected, "Detecting", len(files), console=console))
        console.print(f"{count} pictures and detections.json are in {output}.", soft_wrap=True)


class Classification(Task[ClassPredictor, ClassificationDataset]):
    """The class of a whole image. A model is the folder of a run or a .tflite file."""

    def train(self, config: TrainConfig, folder: Path, **options: bool) -> HeadModel:
        from spinenet_tf.training.class_recipe import train_classifier

        return train_classifier(config, folder, **options)

    def load(self, path: Path, max_detections: int | None = None) -> ClassPredictor:
        if max_detections is not None:
            raise ValueError(f"A classifier has no detections. Received: {max_detections=}")
        return load_classifier(path)

    def given_data(self, annotations: Path | None, images: Path | None) -> ClassificationDataset | None:
        if annotations:
            raise ValueError("A classifier is evaluated on a folder of class folders: give --images alone.")
        return read_image_folder(images) if images else None

    def own_data(self, path: Path) -> ClassificationDataset:
        if not path.is_dir():
            raise ValueError("A .tflite file has no data of its own: give --images, a folder of class folders.")
        return Run(path).config().own_images().read("val")

    def evaluate(
        self,
        model: ClassPredictor,
        dataset: ClassificationDataset,
        console: Console,
        max_detections: int | None = None,
        classes: Sequence[str] | None = None,
    ) -> Outcome:
        dataset = _chosen(dataset, classes, model.class_names)
        with console.status("Classifying"):
            numbers = model.evaluate(dataset)
        return Outcome(numbers)

    def predict(
        self, model: ClassPredictor, files: Sequence[Path], output: Path, threshold: float, console: Console
    ) -> None:
        found = classify_files(model, files, output)
        for name, classes in found.items():
            likeliest = f"{classes[0]['class']} ({classes[0]['score']:.3f})"
            console.print(f"{name}: {likeliest}", soft_wrap=True, highlight=False)
        console.print(f"{len(found)} images are classified in {output / 'classes.json'}.", soft_wrap=True)


TASKS: dict[str, Task[Any, Any]] = {"detection": Detection(), "classification": Classification()}


def task_of(path: Path) -> Task[Any, Any]:
    """Return the task of the model at `path`: what a run's config or a file says; of anything else detection.

    Raises:
        ValueError: it is a .tflite file of another origin, or of a model without a task.
    """
    run = Run(path)
    if run.config_path.is_file():
        return TASKS[run.config().task]
    if path.suffix == ".tflite" and path.is_file():
        from spinenet_tf.inference.metadata import read_metadata

        task = read_metadata(path).task
        if task not in TASKS:
            raise ValueError(f"{path} neither detects nor classifies. Received: task={task!r}")
        return TASKS[task]
    return TASKS["detection"]
