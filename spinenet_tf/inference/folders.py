"""Run a model on image files, and write its results to a folder."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from spinenet_tf._files.messages import some_of
from spinenet_tf._files.progress import Track, untracked
from spinenet_tf._files.writing import made, staged, write_whole
from spinenet_tf.data.formats.coco_ids import CocoIds
from spinenet_tf.inference.classification import Classification
from spinenet_tf.inference.detections import THRESHOLD, Detections
from spinenet_tf.inference.predictor import Predictor
from spinenet_tf.tasks import TASKS

DETECTIONS, COCO_RESULTS, CLASSES = "detections.json", "coco_results.json", "classes.json"


class CocoRows:
    """Convert the detections in files to COCO results with the ids of an annotation file, found by name.

    Detections of classes that the file does not have are left out, and counted in `left_out`, by class.

    Raises:
        DataError: the annotation file is not COCO, does not have each image exactly once, or has none of the classes.
    """

    def __init__(self, annotations: Path, files: Sequence[Path], class_names: Sequence[str]):
        ids, names = CocoIds(annotations), [file.name for file in files]
        self._images = dict(zip(names, ids.of_images(names), strict=True))
        self._categories = ids.of_classes(class_names)
        self.left_out: Counter[str] = Counter()

    def of(self, name: str, found: Detections) -> list[dict[str, Any]]:
        """Return the COCO results of the file with this name."""
        known = np.array([self._categories[label] is not None for label in found.classes.tolist()], bool)
        self.left_out.update(found[~known].names)
        category_ids = tuple(-1 if number is None else number for number in self._categories)
        return replace(found[known], category_ids=category_ids).to_coco(self._images[name])


def predict_files(
    predictor: Predictor,
    files: Sequence[Path],
    output: Path,
    threshold: float = THRESHOLD,
    annotations: Path | None = None,
    track: Track = untracked,
) -> list[str]:
    """Run a model of any task as `detect_in_files` or `classify_files`, and return lines that report the results.

    With a COCO file `annotations`, the detections are written as COCO results with its ids: see `CocoRows`.

    Raises:
        DataError: as these functions and `CocoRows` do.
        ValueError: a classifier is given `annotations`.
    """
    if TASKS[predictor.task].has_boxes:
        coco = None if annotations is None else CocoRows(annotations, files, predictor.class_names)
        written = detect_in_files(predictor, files, output, threshold, coco, track)
        lines = [f"Wrote {len(files)} pictures and {written.name} to {output}."]
        if coco and coco.left_out:
            counts = some_of(f"{name} ({count})" for name, count in coco.left_out.items())
            lines.append(f"Left out the detections of classes that {annotations} does not have: {counts}.")
        return lines
    if annotations is not None:
        raise ValueError(f"Only a detector has COCO results. Received: a model for {predictor.task}")
    found = classify_files(predictor, files, output, track)
    best = [f"{name}: {rows[0]['class']} ({rows[0]['score']:.3f})" for name, rows in found.items()]
    return [*best, f"Wrote the classes of {len(found)} images to {output / CLASSES}."]


def detect_in_files(
    predictor: Predictor,
    files: Sequence[Path],
    output: Path,
    threshold: float = THRESHOLD,
    coco: CocoRows | None = None,
    track: Track = untracked,
) -> Path:
    """Detect in image files, draw the detections into the folder `output`, and return the JSON file of all of them.

    `detections.json` maps each file name to the size of the image and all its detections, boxes yxyx in pixels, masks
    as COCO's compressed RLE. With `coco`, its rows are written instead, to `coco_results.json`. `threshold` only
    selects the detections to draw. All files appear together at the end, or none. All images are decoded once before
    the first detection, so that errors are reported at once.

    Raises:
        DataError: an image does not decode.
    """
    _check(files)
    found: dict[str, Any] = {}
    path = output / (COCO_RESULTS if coco else DETECTIONS)
    with made(output), staged(path) as part:
        for file, detections in track(zip(files, predictor.stream(files), strict=True), len(files), "Detecting"):
            found[file.name] = coco.of(file.name, detections) if coco else _row(detections)
            detections.draw(threshold).save(part.with_name(f"{file.name}.png"))
        content = [row for rows in found.values() for row in rows] if coco else found
        part.write_text(json.dumps(content, indent=1))
    return path


def _row(found: Detections) -> dict[str, Any]:
    columns = (found.names, found.scores.tolist(), found.boxes.tolist())
    rows: list[dict[str, Any]] = [
        {"class": name, "score": round(score, 4), "box": [round(side, 2) for side in box]}
        for name, score, box in zip(*columns, strict=True)
    ]
    for row, mask in zip(rows, found.encoded_masks or (), strict=False):
        row["mask"] = mask.rle()
    return {"size": list(found.image.shape[:2]), "detections": rows}


def classify_files(
    predictor: Predictor, files: Sequence[Path], output: Path, track: Track = untracked
) -> dict[str, list[dict[str, Any]]]:
    """Classify image files, write `classes.json` to the folder `output` and return it: file name -> likeliest classes.

    Raises:
        DataError: an image does not decode; then nothing is written.
    """
    _check(files)
    results = track(predictor.stream(files), len(files), "Classifying")
    found = {file.name: _classes(result) for file, result in zip(files, results, strict=True)}
    with made(output):
        write_whole(output / CLASSES, json.dumps(found, indent=1))
    return found


def _classes(found: Classification) -> list[dict[str, Any]]:
    return [{"class": name, "score": round(probability, 4)} for name, probability in found.top()]


def _check(files: Sequence[Path]) -> None:
    from spinenet_tf.data.images import read_image

    for file in files:
        read_image(file)
