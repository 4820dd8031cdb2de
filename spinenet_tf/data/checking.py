"""Check a data set: compute statistics and list all problems."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from spinenet_tf._files.progress import Track, untracked
from spinenet_tf.data.dataset import MAX_PIXELS, ClassificationDataset, DataError, DetectionDataset
from spinenet_tf.data.examples import valid_examples
from spinenet_tf.data.images import read_image, read_size
from spinenet_tf.data.input.pipeline import check_image, check_trainable
from spinenet_tf.data.mask_faults import mask_faults
from spinenet_tf.data.problems import Place, Problem, Problems
from spinenet_tf.data.reading import Source, read_any
from spinenet_tf.heads.table import head_of, options_of
from spinenet_tf.nets.family import variant
from spinenet_tf.ops.assignment import POSITIVE_IOU

SMALL, LARGE = 32**2, 96**2  # COCO's limits for small and large objects, in square pixels


@dataclass(frozen=True, repr=False)
class Findings:
    """The statistics and problems of a data set; `print` shows them."""

    name: str
    statistics: dict[str, Any]
    problems: tuple[Problem, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-compatible values."""
        problems = [
            {"file": str(p.place.file), "entry": p.place.entry, "message": p.message, "refused": p.refused}
            for p in self.problems
        ]
        return asdict(self) | {"problems": problems}

    def rows(self) -> list[tuple[str, str]]:
        """Return the statistics as pairs of name and text."""
        return [(name.replace("_", " "), _text(value)) for name, value in self.statistics.items()]

    def summary(self) -> str:
        """Return one sentence with the number of problems."""
        refused = sum(problem.refused for problem in self.problems)
        return f"{len(self.problems)} problems, {refused} of them refused by training."

    def __repr__(self) -> str:
        rows = [f"  {name}: {text}" for name, text in self.rows()]
        return "\n".join([self.name, *rows, *map(str, self.problems), self.summary()])


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {number}" for key, number in value.items())
    return "-" if value is None else str(value)


def check(
    source: Source | DetectionDataset | ClassificationDataset,
    images: Source | None = None,
    split: str | None = None,
    *,
    model: str = "spinenet_49",
    image_size: tuple[int, int] | None = None,
    decode: bool = True,
    max_pixels: int | None = None,
    track: Track = untracked,
) -> Findings:
    """Check a data set with all of its images: return statistics and all problems.

    Args:
        source: The path of a data set of any format, or one in memory. A path shows more problems: a data set in memory
            has no invalid annotations any more.
        images: As in `read`, for a path.
        split: As in `read`, for a path.
        model: The statistics include how well the anchors of this model cover the boxes.
        image_size: Height and width of the model's input; by default the published size.
        decode: Whether to decode all images. False reads only their headers, which is much faster.
        max_pixels: An image with more pixels is a problem; by default the data set's limit.
        track: Reports progress; called as `track(items, count, label)`, and yields the items.

    Raises:
        DataError: the data set cannot be read at all.
        ValueError: the model is unknown, or `images` or `split` is given for a data set in memory.
    """
    row = variant(model)
    size = image_size or (row.image_size, row.image_size)
    dataset, problems = _read(source, images, split, max_pixels)
    if isinstance(dataset, ClassificationDataset):
        return _check_folder(dataset, problems, decode, track)
    file = Path(source if isinstance(source, str | os.PathLike) else dataset.name)
    _check_images(dataset, problems, decode, track)
    if len(dataset):
        with problems.at(Place(file)):
            check_trainable(dataset)
    _check_duplicates(dataset, problems, file)
    anchors = {"model": model, "image_size": list(size), **_coverage(dataset, size, model)}
    return Findings(dataset.name, _statistics(dataset) | {"anchors": anchors}, tuple(problems.found))


def _read(
    source: Any, images: Source | None, split: str | None, max_pixels: int | None
) -> tuple[DetectionDataset | ClassificationDataset, Problems]:
    """Return the data set, and the problems that were found while reading."""
    if not isinstance(source, DetectionDataset | ClassificationDataset):
        problems = Problems(keep_going=True, max_pixels=max_pixels or MAX_PIXELS)
        return read_any(source, images, split, problems), problems
    if images is not None or split is not None:
        raise ValueError(f"A data set in memory has neither images nor split. Received: {images=}, {split=}")
    dataset = replace(source, max_pixels=max_pixels or source.max_pixels)
    problems = Problems(keep_going=True, max_pixels=dataset.max_pixels)
    return valid_examples(dataset, problems), problems


def _check_images(dataset: DetectionDataset, problems: Problems, decode: bool, track: Track) -> None:
    if not len(dataset):
        with problems.at(Place(Path(dataset.name))):
            raise DataError("the data set has no images")
    with ThreadPoolExecutor() as threads:
        checks = [threads.submit(check_image, example, decode, dataset.max_pixels) for example in dataset]
        masks = [threads.submit(mask_faults, example, decode) for example in dataset]
        images = zip(track(dataset, len(dataset), "Reading images"), checks, masks, strict=True)
        for example, done, faults in images:
            place = Place(Path(str(example.path)), f"image {example.image_id}")
            with problems.at(place):
                done.result()
            for message, refused in faults.result():
                problems.add(place, message, refused)


def _check_duplicates(dataset: DetectionDataset, problems: Problems, source: Path) -> None:
    """Report duplicate images, and duplicate boxes within an image."""
    owners: dict[str, int] = {}
    for example in dataset:
        place = Place(source, f"image {example.image_id}")
        first = owners.setdefault(str(example.path), example.image_id)
        if first != example.image_id:
            problems.note(place, f"image {first} has the same file. Received: {example.path}")
        boxes = Counter(zip(example.classes.tolist(), map(tuple, example.boxes.tolist()), strict=True))
        for (label, box), count in boxes.items():
            if count > 1:
                name = dataset.class_names[label]
                problems.note(place, f"a box of {name!r} occurs {count} times. Received: yxyx={list(box)}")


def _statistics(dataset: DetectionDataset) -> dict[str, Any]:
    boxes = np.concatenate([np.zeros((0, 4), np.float32), *(example.boxes for example in dataset)])
    areas = np.concatenate([np.zeros(0, np.float32), *(example.area for example in dataset)])
    labels = np.concatenate([np.zeros(0, np.int32), *(example.classes for example in dataset)])
    counts = np.bincount(labels, minlength=len(dataset.class_names)).tolist()
    masks = [mask for example in dataset for mask in example.masks or () if mask is not None]
    return {
        "images": len(dataset),
        "images_without_objects": sum(not len(example.boxes) for example in dataset),
        "image_height": spread([example.height for example in dataset]),
        "image_width": spread([example.width for example in dataset]),
        "boxes": len(boxes),
        **({"masks": len(masks)} if masks else {}),
        "crowds": int(sum(example.crowd.sum() for example in dataset)),
        "boxes_per_image": spread([len(example.boxes) for example in dataset]),
        "box_height": spread(boxes[:, 2] - boxes[:, 0]),
        "box_width": spread(boxes[:, 3] - boxes[:, 1]),
        "box_sizes": {
            "small": int((areas < SMALL).sum()),
            "medium": int(((areas >= SMALL) & (areas <= LARGE)).sum()),
            "large": int((areas > LARGE).sum()),
        },
        "classes": dict(zip(dataset.class_names, counts, strict=True)),
    }


def spread(values: Iterable[float]) -> dict[str, float] | None:
    """Return the minimum, median and maximum; None if there are no values."""
    values = np.asarray(list(values), np.float64)
    if not len(values):
        return None
    numbers = (values.min(), np.median(values), values.max())
    return {key: round(float(value), 2) for key, value in zip(("min", "median", "max"), numbers, strict=True)}


def _coverage(dataset: DetectionDataset, size: tuple[int, int], model: str) -> dict[str, float | None]:
    """Return how well the anchors of a model's published head cover the trainable boxes at input `size`."""
    head = head_of(model, "detection")
    scaled = [
        example.boxes[example.trainable] * min(size[0] / example.height, size[1] / example.width) for example in dataset
    ]
    boxes = np.concatenate([np.zeros((0, 4)), *scaled])
    measure = head.decoding.coverage if head.decoding else None
    if not len(boxes) or measure is None:  # some heads have no anchors
        return {"covered": None, "mean_iou": None}
    overlap = measure(boxes, size, variant(model).graph.levels, options_of(model, head))
    return {
        "covered": round(float((overlap >= POSITIVE_IOU).mean()), 4),
        "mean_iou": round(float(overlap.mean()), 4),
    }


def _check_folder(dataset: ClassificationDataset, problems: Problems, decode: bool, track: Track) -> Findings:
    """Check a classification data set."""
    sizes = []
    with ThreadPoolExecutor() as threads:
        checks = [threads.submit(_size, example.path, decode, dataset.max_pixels) for example in dataset]
        for example, done in zip(track(dataset, len(dataset), "Reading images"), checks, strict=True):
            with problems.at(Place(example.path)):
                sizes.append(done.result())
    counts = Counter(example.label for example in dataset)
    statistics = {
        "images": len(dataset),
        "image_height": spread([height for height, _ in sizes]),
        "image_width": spread([width for _, width in sizes]),
        "classes": {name: counts[label] for label, name in enumerate(dataset.class_names)},
    }
    return Findings(dataset.name, statistics, tuple(problems.found))


def _size(path: Path, decode: bool, max_pixels: int) -> tuple[int, ...]:
    return read_image(path, max_pixels).shape[:2] if decode else read_size(path, max_pixels)
