"""A trained classifier from its run's folder or a .tflite file: how often it is right, and what it says about files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spinenet_tf._files.writing import made, write_whole
from spinenet_tf.data.classes import check_known, only_classes
from spinenet_tf.data.dataset import ClassificationDataset
from spinenet_tf.evaluation.accuracy import Accuracy, Classify, classify_dataset

TOP = 5  # classes that are told of each file


@dataclass(frozen=True)
class ClassPredictor:
    """What classifying needs to know beside the network."""

    classify: Classify  # normalised images [B, H, W, 3] to logits [B, C]
    image_size: tuple[int, int]
    centre: float  # of the central crop
    class_names: tuple[str, ...]

    def scores(self, image: np.ndarray) -> np.ndarray:
        """Return the probability `[C]` of each class for one RGB image `[h, w, 3]` uint8 of any size."""
        from spinenet_tf.data.input.class_pipeline import central_crop

        pixels = central_crop(image, *self.image_size, self.centre)
        logits = np.asarray(self.classify(np.asarray(pixels)[None]))[0].astype(np.float64)
        exponents = np.exp(logits - logits.max())
        return exponents / exponents.sum()

    def evaluate(self, dataset: ClassificationDataset) -> Accuracy:
        """Measure the classifier on images of its classes, or of some of them.

        Raises:
            ValueError: the data set has a class that the model does not know.
        """
        check_known(dataset, self.class_names)
        known = only_classes(dataset, self.class_names)
        return classify_dataset(self.classify, known, self.image_size, self.centre)


def load_classifier(path: Path) -> ClassPredictor:
    """Load a classification run's best weights, or a classifier's .tflite file.

    Raises:
        RunError: as `Run.load_classifier` does.
        FileNotFoundError, ValueError: as `TFLiteModel` does, or the file is not a classifier's.
    """
    if path.suffix == ".tflite":
        return _load_file(path)
    from spinenet_tf.data.input.class_pipeline import CENTRE
    from spinenet_tf.training.run import Run

    model, config = Run(path).load_classifier()
    centre = config.own_images().centre if config.data else CENTRE
    return ClassPredictor(model.predict_on_batch, config.model.image_size, centre, config.class_names or ())


def _load_file(path: Path) -> ClassPredictor:
    from spinenet_tf.inference.litert import TFLiteModel

    model = TFLiteModel(path)
    if model.metadata.task != "classification":
        raise ValueError(f"{path} is not a classifier's. Received: task={model.metadata.task!r}")
    return ClassPredictor(model.predict, model.image_size, model.metadata.centre, tuple(model.class_names))


def classify_files(predictor: ClassPredictor, files: Sequence[Path], output: Path) -> dict[str, list[dict[str, Any]]]:
    """Classify each image, write `classes.json` into `output` and return it: the likeliest classes by the file's name.

    Raises:
        DataError: an image does not decode; nothing is written then.
    """
    from spinenet_tf.data.images import read_image

    found = {file.name: _likeliest(predictor.scores(read_image(file)), predictor.class_names) for file in files}
    with made(output):
        write_whole(output / "classes.json", json.dumps(found, indent=1))
    return found


def _likeliest(scores: np.ndarray, class_names: Sequence[str]) -> list[dict[str, Any]]:
    order = np.argsort(-scores, kind="stable")[:TOP]
    return [{"class": class_names[label], "score": round(float(scores[label]), 4)} for label in order]
