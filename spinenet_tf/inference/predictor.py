"""Load a trained detector from a run's folder or a .tflite file, and detect in image files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from PIL import Image

from spinenet_tf._files.messages import some_of
from spinenet_tf._files.progress import Track, untracked
from spinenet_tf._files.writing import made, staged
from spinenet_tf.data.dataset import IMAGE_SUFFIXES
from spinenet_tf.evaluation.detections import Predict, detect_in_image


@dataclass(frozen=True)
class Predictor:
    """A detector with its input size and class names."""

    predict: Predict  # normalized images [B, H, W, 3] to detections, or ValueError: see `checks.check_images`
    image_size: tuple[int, int]
    class_names: tuple[str, ...]
    max_detections: int | None = None  # limit per image of `predict`, if known

    def detect(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Detect in an RGB image `[h, w, 3]` uint8 of any size; return boxes `[M, 4]` yxyx in pixels, scores, classes.

        Raises:
            ValueError: the image has another shape or dtype, or has no pixels.
        """
        return detect_in_image(self.predict, image, self.image_size)

    def draw(self, image: np.ndarray, found: dict[str, np.ndarray], threshold: float = 0.3) -> np.ndarray:
        """Draw the detections with a score of at least `threshold`; return a copy of the image `[h, w, 3]`."""
        from spinenet_tf.drawing.boxes import draw_detections

        return draw_detections(image, found["boxes"], found["classes"], found["scores"], self.class_names, threshold)

    def predict_files(
        self, files: Sequence[Path], output: Path, threshold: float, track: Track = untracked
    ) -> list[str]:
        """Detect in files as `detect_in_files` does, and return lines that report what was written."""
        count = sum(1 for _ in track(detect_in_files(self, files, output, threshold), len(files), "Detecting"))
        return [f"Wrote {count} pictures and detections.json to {output}."]


def load_predictor(path: str | Path, max_detections: int | None = None) -> Predictor:
    """Load a run's best weights or a .tflite file; threads may share the predictor, which runs one call at a time.

    `max_detections` limits the detections per image; the default is the model's limit.

    Raises:
        FileNotFoundError: `path` does not exist.
        ValueError: it is neither a run nor a .tflite file of this package, or the file has another fixed limit.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"There is no model {path}.")
    if path.is_dir():
        return _run_predictor(path, max_detections)
    if path.suffix != ".tflite":
        raise ValueError(f"A model must be a run's folder or a .tflite file. Received: {path}")
    from spinenet_tf.inference.litert import TFLiteModel

    model = TFLiteModel(path, max_detections=max_detections)
    slots = model.metadata.known_head()[1].max_detections
    return Predictor(model.predict, model.image_size, tuple(model.class_names), slots)


def _run_predictor(path: Path, max_detections: int | None) -> Predictor:
    from spinenet_tf.inference.checks import check_images
    from spinenet_tf.training.run import Run

    detector, config = Run(path).load()
    size, turn = config.model.image_size, Lock()
    slots = max_detections or detector.options.max_detections
    detector.options = replace(detector.options, max_detections=slots)

    def predict(images: np.ndarray) -> Mapping[str, Any]:
        images = check_images(images, size)
        with turn:  # without a lock, concurrent first calls would each build a graph in Keras
            return detector.predict_on_batch(images)

    return Predictor(predict, size, config.class_names or (), slots)


def image_files(source: Path) -> list[Path]:
    """Return the image at `source`, or all images of the folder sorted by name.

    Raises:
        FileNotFoundError: `source` does not exist.
        DataError: the folder has no images; the message lists its files.
    """
    from spinenet_tf.data.dataset import DataError

    if not source.exists():
        raise FileNotFoundError(f"There is no image or folder {source}.")
    if source.is_file():
        return [source]
    found = sorted(path for path in source.iterdir() if _is_image(path))
    if not found:
        others = some_of(passed_over(source))
        content = f"It has {others}" if others else "It has no other files"
        raise DataError(f"{source} has no images ({', '.join(IMAGE_SUFFIXES)}). {content}.")
    return found


def passed_over(source: Path) -> list[str]:
    """Return the names of the files and folders at `source` that `image_files` skips, except hidden ones."""
    entries = sorted(source.iterdir()) if source.is_dir() else []
    others = (path for path in entries if not _is_image(path) and not path.name.startswith("."))
    return [f"{path.name}/" if path.is_dir() else path.name for path in others]


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.is_dir()


def detect_in_files(predictor: Predictor, files: Sequence[Path], output: Path, threshold: float) -> Iterator[Path]:
    """Detect in each image, draw the detections into `output` and yield the image's path; write `detections.json`.

    All files appear together at the end, or none. All images are decoded once before the first detection, so that
    errors are reported at once. The JSON maps each file name to the image size and all detections, boxes yxyx in
    pixels; `threshold` only selects the detections to draw.

    Raises:
        DataError: an image does not decode.
    """
    from spinenet_tf.data.images import read_image

    for file in files:
        read_image(file)
    found = {}
    with made(output), staged(output / "detections.json") as part:
        for file in files:
            image = read_image(file)
            detections = predictor.detect(image)
            found[file.name] = {"size": list(image.shape[:2]), "detections": _rows(detections, predictor.class_names)}
            Image.fromarray(predictor.draw(image, detections, threshold)).save(part.with_name(f"{file.name}.png"))
            yield file
        part.write_text(json.dumps(found, indent=1))


def _rows(detections: dict[str, np.ndarray], class_names: Sequence[str]) -> list[dict[str, Any]]:
    columns = (detections["boxes"].tolist(), detections["scores"].tolist(), detections["classes"].tolist())
    return [
        {"class": class_names[label], "score": round(score, 4), "box": [round(side, 2) for side in box]}
        for box, score, label in zip(*columns, strict=True)
    ]
