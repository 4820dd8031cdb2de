"""Write an evaluation report: one HTML page with metrics, curves, a confusion matrix and pictures."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from spinenet_tf import __version__
from spinenet_tf.data.dataset import DetectionDataset
from spinenet_tf.evaluation.confusion import IOU, confusion_matrix, frequent_confusions, match
from spinenet_tf.evaluation.curves import COLORS, curves, draw_curves
from spinenet_tf.evaluation.gallery import Judged, gallery
from spinenet_tf.evaluation.metrics import Evaluation
from spinenet_tf.evaluation.page import element, picture, table, write_page

GENERATOR = "spinenet_tf evaluation report"  # identifies our own reports, which may be overwritten
MATRIX_CLASSES = 24  # more columns do not fit the page
CONFUSIONS = 12  # maximum length of the list of confusions
MEANINGS = (
    *("mean over IoU 0.50 to 0.95", "at IoU 0.50", "at IoU 0.75"),
    *("small objects, under 32 x 32 px", "medium objects", "large objects, over 96 x 96 px"),
    *("recall with 1 detection per image", "with 10", "with {}"),
    *("recall of small objects", "of medium objects", "of large objects"),
)


def check_report_folder(folder: Path, overwrite: bool) -> None:
    """Check that a report can be written to `folder`, which may be missing, empty, or an earlier report.

    Raises:
        FileExistsError: the folder has other content and `overwrite` is False, or `folder` is a file.
        FileNotFoundError: the parent folder does not exist.
    """
    if not folder.parent.is_dir():
        raise FileNotFoundError(f"The output folder {folder.parent} does not exist.")
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file, but a report is written to a folder.")
    if folder.is_dir() and any(folder.iterdir()) and not (overwrite or _is_report(folder)):
        raise FileExistsError(f"{folder} is not an earlier report. Pass --overwrite to write into it.")


def _is_report(folder: Path) -> bool:
    page = folder / "index.html"
    return page.is_file() and f'content="{GENERATOR}"'.encode() in page.read_bytes()[:1000]


def write_report(
    folder: str | os.PathLike, evaluation: Evaluation, *, threshold: float = 0.3, overwrite: bool = False
) -> Path:
    """Write the self-contained page `folder/index.html` atomically; return its path.

    The confusion matrix and the pictures show detections that score at least `threshold`.

    Raises:
        DataError: an image to draw cannot be decoded.
        FileExistsError, FileNotFoundError: as `check_report_folder` does.
    """
    folder, dataset, model = Path(folder), evaluation.dataset, evaluation.model
    names = dataset.class_names
    check_report_folder(folder, overwrite)
    found = {item["image_id"]: item for item in evaluation.detections}
    nothing: dict[str, Any] = {"boxes": [], "scores": [], "classes": []} | ({"masks": []} if evaluation.masks else {})
    judged = []
    for example in dataset:
        item = found.get(example.image_id, nothing)
        judged.append(Judged(example, item, match(example, item, len(names), threshold)))
    matrix = confusion_matrix((image.matches for image in judged), len(names))
    title = f"Evaluation of {Path(model).name or model} on {dataset.name}"
    body = [
        *_header(title, dataset, model, threshold),
        *_numbers(evaluation),
        *_curves(evaluation),
        *_classes(names, evaluation, matrix),
        *_confusions(names, matrix, "masks" if evaluation.masks else "boxes"),
        *gallery(judged, names, threshold),
    ]
    return write_page(folder, title, GENERATOR, body)


def _header(title: str, dataset: DetectionDataset, model: str, threshold: float) -> Iterator[Element]:
    objects = sum(int(example.trainable.sum()) for example in dataset)
    facts = {
        "model": model,
        "data set": dataset.name,
        "images": str(len(dataset)),
        "objects": f"{objects}, not counting crowds",
        "classes": str(len(dataset.class_names)),
        "date": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        "score threshold": f"{threshold:g}, for confusion matrix, precision, recall and pictures",
        "written by": f"spinenet_tf {__version__}",
    }
    yield element("h1", title)
    pairs = [element(tag, text) for fact in facts.items() for tag, text in zip(("dt", "dd"), fact, strict=True)]
    yield element("dl", *pairs, class_="facts")


def _numbers(numbers: Evaluation) -> Iterator[Element]:
    meanings = [meaning.format(numbers.max_detections) for meaning in MEANINGS]
    shapes = numbers.shapes
    rows: list[Sequence[str | Element]] = [
        (label, *(_number(getattr(of, name)) for of in shapes.values()), element("td", meaning, class_="means"))
        for (name, label), meaning in zip(numbers.labels.items(), meanings, strict=True)
    ]
    head = ("", *shapes, "") if len(shapes) > 1 else ()
    yield element("h2", "COCO metrics" if numbers.is_coco else "Non-COCO metrics")
    for remark in numbers.remarks():
        yield element("p", remark)
    yield element("div", table(head, rows[:6]), table(head, rows[6:]), class_="columns")


def _curves(numbers: Evaluation) -> Iterator[Element]:
    yield element("h2", "Precision and recall")
    yield element("p", "Mean over all classes, with COCO's interpolation. The area under a curve is its AP.")
    for shape, of in numbers.shapes.items():
        if len(numbers.shapes) > 1:
            yield element("h3", shape.capitalize())
        text = f"Precision-recall curves of {shape} at IoU 0.50, 0.75 and on average"
        yield picture(draw_curves(of.precision), "svg+xml", text)


def _classes(names: Sequence[str], numbers: Evaluation, matrix: np.ndarray) -> Iterator[Element]:
    """Yield the table of classes: details of masks if there are any, otherwise of boxes."""
    box_ap = numbers.precision.mean(axis=(0, 1))
    precision, prefix = (numbers.masks.precision, "mask ") if numbers.masks else (numbers.precision, "")
    ap = precision.mean(axis=1)  # [IoU, class]
    mean = ap.mean(axis=0)
    right, objects, found = np.diag(matrix)[:-1], matrix.sum(axis=1), matrix.sum(axis=0)
    rows = [
        (
            *(names[c], str(objects[c]), *([_bar(box_ap[c])] if numbers.masks else [])),
            *(_bar(mean[c]), _number(ap[0, c]), _number(ap[5, c])),
            *(_fraction(right[c], found[c]), _fraction(right[c], objects[c]), _sparkline(precision[:, :, c])),
        )
        for c in np.argsort(-mean, kind="stable")  # NaN (no objects of the class) goes last
    ]
    yield element("h2", "Classes")
    yield element("p", f"Precision and recall are those at the score threshold and IoU {IOU:.2f}.")
    columns = [*(["AP"] if numbers.masks else []), *(f"{prefix}{name}" for name in ("AP", "AP50", "AP75"))]
    yield table(("class", "objects", *columns, "precision", "recall", "curves"), rows)


def _confusions(names: Sequence[str], matrix: np.ndarray, shape: str) -> Iterator[Element]:
    mistakes = matrix - np.diag(np.diag(matrix))
    counts = (mistakes.sum(axis=0) + mistakes.sum(axis=1))[:-1]
    shown = np.sort(np.argsort(-counts, kind="stable")[:MATRIX_CLASSES])
    which = "" if len(names) == len(shown) else f" Shown: the {len(shown)} of {len(names)} classes with most mistakes."
    yield element("h2", "Confusion matrix")
    yield element(
        "p",
        "Rows: true class. Columns: detected class. The last row counts detections without an object, the last column "
        f"missed objects. A detection matches an object if the IoU of their {shape} is at least {IOU:.2f}.{which}",
    )
    yield element("div", _matrix((*names, "background"), matrix, [*shown, len(names)]), class_="matrix")
    confusions = [
        (names[true], names[label], str(times)) for true, label, times in frequent_confusions(matrix, CONFUSIONS)
    ]
    if confusions:
        yield element("h2", "Most frequent confusions")
        yield element("div", table(("true class", "detected as", "count"), confusions), class_="words")


def _matrix(names: Sequence[str], matrix: np.ndarray, shown: Sequence[int]) -> Element:
    """Return a table whose cells are shaded by their fraction of the row: blue on the diagonal, orange elsewhere."""
    rows: list[list[str | Element]] = []
    for true in shown:
        rows.append([names[true]])
        for label in shown:
            count, color = matrix[true, label], "31, 119, 180" if true == label else "217, 95, 2"
            shade = f"background: rgba({color}, {0.75 * count / max(1, matrix[true].sum()):.2f})"
            rows[-1].append(element("td", str(count) if count else "", style=shade))
    return table(("", *(names[label] for label in shown)), rows)


def _bar(value: float) -> Element:
    """Return a cell with an AP, whose background is filled as a bar chart."""
    if math.isnan(value):
        return element("td", _number(value))
    end = f"{100 * value:.1f}%"
    return element("td", _number(value), style=f"background: linear-gradient(90deg, #cfe3f5 {end}, transparent {end})")


def _sparkline(precision: np.ndarray) -> Element:
    """Return a cell with the curves of one class, `[IoU, recall]`, as a word-sized SVG."""
    lines = [
        element("polyline", points=_points(curve), fill="none", stroke=COLORS[name], stroke_width="2")
        for name, curve in curves(precision[:, ::4]).items()
        if not np.isnan(curve[0])
    ]
    return element("td", element("svg", *lines, viewBox="-1 -1 102 27", class_="curve", aria_hidden="true"))


def _points(curve: np.ndarray) -> str:
    xs, ys = np.linspace(0, 100, len(curve)), 25 - 25 * curve
    return " ".join(f"{x:.0f},{y:.1f}" for x, y in zip(xs, ys, strict=True))


def _fraction(count: int, total: int) -> str:
    return _number(count / total if total else math.nan)


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"
