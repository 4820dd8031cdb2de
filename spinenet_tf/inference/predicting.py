"""Run a model on all images and videos of some sources, and write its results to a folder as they come."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from spinenet_tf._files.progress import Track, untracked
from spinenet_tf._files.writing import staged
from spinenet_tf.data.dataset import ImageError
from spinenet_tf.drawing.boxes import save_png
from spinenet_tf.inference.images import as_pixels
from spinenet_tf.inference.many_images import Answer, Item, run_items
from spinenet_tf.inference.predictor import Predictor
from spinenet_tf.inference.results_folder import ResultsFolder
from spinenet_tf.inference.rows import CocoRows, Row, RowOf, class_row, detection_row
from spinenet_tf.inference.sources import Sources, is_video
from spinenet_tf.inference.videos import count_frames, frames
from spinenet_tf.tasks import TASKS

DETECTIONS, CLASSES, COCO_LINES = "detections.jsonl", "classes.jsonl", "coco_results.jsonl"
COCO_RESULTS = "coco_results.json"


@dataclass
class Summary:
    """What `predict_sources` did."""

    path: Path  # the file of results
    images: int = 0  # with results, not counting those of an earlier process
    seconds: float = 0.0
    bad: dict[str, str] = field(default_factory=dict)  # name -> why it cannot be read
    left_out: Counter[str] = field(default_factory=Counter)  # detections without a category in the COCO file, by class


def predict_sources(
    predictors: Sequence[Predictor],
    sources: Sources,
    output: Path,
    model: str = "",
    threshold: float | None = None,
    annotations: Path | None = None,
    frame_step: int = 1,
    resume: bool = False,
    overwrite: bool = False,
    track: Track = untracked,
) -> Summary:
    """Run a model of any task on images and frames of videos; see `many_images.load_workers` for `predictors`.

    The folder `output` gets a file with a line per image, in order: `detections.jsonl` of `detection_row`, or
    `classes.jsonl` of `class_row`. With a COCO file `annotations`, it gets `coco_results.json` instead, at the end,
    from the lines of `coco_results.jsonl`. Images that cannot be read are in `bad_images.jsonl`. With a `threshold`,
    the detections with at least this score are drawn, to NAME.png.

    Args:
        model: Name of the model, which `resume` checks.
        frame_step: Run every n-th frame of a video. A frame is named VIDEO/NUMBER.
        resume: Continue what an earlier process wrote.
        overwrite: Write into an existing folder.

    Raises:
        DataError: as `CocoRows` does.
        FileNotFoundError: there is nothing to resume.
        ImportError: there are videos, and PyAV is not installed.
        ValueError: a classifier is given `annotations`; `output` exists, or was made with other settings.
    """
    names = [sources.name_of(file) for file in sources.files]
    file, row_of = _rows(predictors[0], names, annotations)
    settings = {"model": model, "images": str(sources.folder), "file": file, "frame step": frame_step}
    count = sum(_count(source, frame_step) for source in sources.files)
    results = ResultsFolder(output, file, settings, resume, overwrite)
    convert = row_of if threshold is None else partial(_draw_too, row_of, output, threshold)
    summary, start = Summary(results.path), time.monotonic()
    batches = run_items(predictors, _items(sources, names, frame_step, results.done), convert)
    total = max(0, count - len(results.done))
    for _ in track(chain.from_iterable(_added(batch, results, summary) for batch in batches), total, "Running"):
        pass
    summary.seconds = time.monotonic() - start
    if annotations is not None:
        summary.path = output / COCO_RESULTS
        summary.left_out = _write_coco(results, summary.path)
    return summary


def _rows(predictor: Predictor, names: Sequence[str], annotations: Path | None) -> tuple[str, RowOf]:
    """Return the name of the file of results, and what makes its rows."""
    if not TASKS[predictor.task].has_boxes:
        if annotations is not None:
            raise ValueError(f"Only a detector has COCO results. Received: a model for {predictor.task}")
        return CLASSES, class_row
    if annotations is None:
        return DETECTIONS, detection_row
    return COCO_LINES, CocoRows(annotations, names, predictor.class_names)


def _count(file: Path, frame_step: int) -> int:
    """Return the number of images in a file; that of a video is an estimate."""
    try:
        return len(range(0, count_frames(file), frame_step)) if is_video(file) else 1
    except ImageError:
        return 1


def _items(sources: Sources, names: Sequence[str], frame_step: int, done: frozenset[str]) -> Iterator[Item]:
    for file, name in zip(sources.files, names, strict=True):
        if is_video(file):
            yield from _frames(file, name, frame_step, done)
        elif name not in done:
            yield Item(name, partial(as_pixels, file))


def _frames(file: Path, name: str, step: int, done: frozenset[str]) -> Iterator[Item]:
    try:
        for number, frame in frames(file, step):
            if (frame_name := f"{name}/{number:06}") not in done:
                yield Item(frame_name, partial(_given, frame))
    except ImageError as error:
        yield Item(name, partial(_given, error))


def _given(frame: np.ndarray | ImageError) -> np.ndarray:
    if isinstance(frame, ImageError):
        raise frame
    return frame


def _draw_too(row_of: RowOf, output: Path, threshold: float, name: str, result: Any) -> Row:
    path = output / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_png(path, np.asarray(result.draw(threshold)))
    return row_of(name, result)


def _added(batch: Sequence[Answer[Row]], results: ResultsFolder, summary: Summary) -> Sequence[Answer[Row]]:
    """Write the answers of a batch, count them, and return them."""
    rows = [answer.result for answer in batch if answer.result is not None]
    bad = {answer.name: str(answer.error) for answer in batch if answer.error is not None}
    results.add(rows, bad)
    summary.images += len(rows)
    summary.bad |= bad
    return batch


def _write_coco(results: ResultsFolder, path: Path) -> Counter[str]:
    """Write the file of COCO results, and return the number of detections that were left out, by class."""
    left_out: Counter[str] = Counter()
    with staged(path) as part, part.open("w", encoding="utf-8") as file:
        separator = "["
        for row in results.rows():
            left_out.update(row["left_out"])
            for result in row["results"]:
                file.write(f"{separator}\n{json.dumps(result)}")
                separator = ","
        file.write("[]" if separator == "[" else "\n]")
    return left_out
