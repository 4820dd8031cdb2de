"""Load a trained classifier from a run's folder or a .tflite file, and classify image files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spinenet_tf._files.progress import Track, untracked
from spinenet_tf._files.writing import made, write_whole
from spinenet_tf.evaluation.accuracy import Classify

TOP = 5  # classes that are reported per file


@dataclass(frozen=True)
class ClassPredictor:
    """A classifier with its input size, crop and class names."""

    classify: Classify  # normalized images [B, H, W, 3] to logits [B, C]
    image_size: tuple[int, int]
    center: float  # of the central crop
    class_names: tuple[str, ...]

    def scores(self, image: np.ndarray) -> np.ndarray:
        """Return the probability `[C]` of each class for one RGB image `[h, w, 3]` uint8 of any size."""
        from spinenet_tf.data.input.class_pipeline import central_crop

        pixels = central_crop(image, *self.image_size, self.center)
        logits = np.asarray(self.classify(np.asarray(pixels)[None]))[0].astype(np.float64)
        exponents = np.exp(logits - logits.max())
        return exponents / exponents.sum()

    def predict_files(
        self, files: Sequence[Path], output: Path, threshold: float, track: Track = untracked
    ) -> list[str]:
        """Classify files as `classify_files` does, and return lines that report the results.

        `threshold` has no effect: it only selects detections to draw.
        """
        found = classify_files(self, files, output)
        best = [(name, classes[0]) for name, classes in found.items()]
        lines = [f"{name}: {row['class']} ({row['score']:.3f})" for name, row in best]
        return [*lines, f"Wrote the classes of {len(found)} images to {output / 'classes.json'}."]


def load_classifier(path: Path, max_detections: int | None = None) -> ClassPredictor:
    """Load a classification run's best weights or a classifier's .tflite file.

    Raises:
        RunError: as `Run.load_classifier` does.
        FileNotFoundError, ValueError: as `TFLiteModel` does, the file is not a classifier, or `max_detections` is set.
    """
    if max_detections is not None:
        raise ValueError(f"A classifier has no detections. Received: {max_detections=}")
    if path.suffix == ".tflite":
        return _load_file(path)
    from spinenet_tf.data.dataset import CENTER
    from spinenet_tf.training.run import Run

    model, config = Run(path).load_classifier()
    center = config.own_images().center if config.data else CENTER
    return ClassPredictor(model.predict_on_batch, config.model.image_size, center, config.class_names or ())


def _load_file(path: Path) -> ClassPredictor:
    from spinenet_tf.inference.litert import TFLiteModel

    model = TFLiteModel(path)
    if model.metadata.task != "classification":
        raise ValueError(f"{path} is not a classifier. Received: task={model.metadata.task!r}")
    return ClassPredictor(model.predict, model.image_size, model.metadata.center, tuple(model.class_names))


def classify_files(predictor: ClassPredictor, files: Sequence[Path], output: Path) -> dict[str, list[dict[str, Any]]]:
    """Classify each image, write `classes.json` to the folder `output` and return it: file name -> most likely classes.

    Raises:
        DataError: an image does not decode; then nothing is written.
    """
    from spinenet_tf.data.images import read_image

    found = {file.name: _likeliest(predictor.scores(read_image(file)), predictor.class_names) for file in files}
    with made(output):
        write_whole(output / "classes.json", json.dumps(found, indent=1))
    return found


def _likeliest(scores: np.ndarray, class_names: Sequence[str]) -> list[dict[str, Any]]:
    order = np.argsort(-scores, kind="stable")[:TOP]
    return [{"class": class_names[label], "score": round(float(scores[label]), 4)} for label in order]
