"""Match the classes of data sets and models by name; their numbers may differ."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import compress, count
from typing import TypeVar

import numpy as np

from spinenet_tf._files.messages import some_of
from spinenet_tf.data.dataset import ClassificationDataset, DataError, DetectionDataset

Dataset = TypeVar("Dataset", DetectionDataset, ClassificationDataset)


def unknown_classes(dataset: DetectionDataset | ClassificationDataset, names: Iterable[str]) -> list[str]:
    """Return a data set's classes that are not in `names`; for detection, only those with objects."""
    known, used = set(names), _used(dataset)
    return [name for label, name in enumerate(dataset.class_names) if label in used and name not in known]


def check_known(dataset: DetectionDataset | ClassificationDataset, names: Sequence[str]) -> None:
    """Raise ValueError if a data set has objects or images of a class that is not in a model's `names`."""
    if unknown := unknown_classes(dataset, names):
        raise ValueError(
            f"The model does not have the classes {some_of(unknown, show=repr)}, only {some_of(names, show=repr)}. "
            "Choose classes with `classes` (evaluate --classes)."
        )


def with_classes(dataset: Dataset, names: Sequence[str]) -> Dataset:
    """Renumber the classes of a data set as in `names`, some of which it may lack.

    Classes that are not in `names` are removed, since nothing belongs to them.

    Raises:
        DataError: the data set has objects or images of a class that is not in `names`.
    """
    if unknown := unknown_classes(dataset, names):
        raise DataError(
            f"{dataset.name}: it has classes that are not in {some_of(names, show=repr)}. "
            f"Received: {some_of(unknown, show=repr)}"
        )
    return only_classes(dataset, names)


def only_classes(dataset: Dataset, names: Sequence[str]) -> Dataset:
    """Renumber the classes of a data set as in `names`, and remove the objects or images of all others."""
    places = {name: number for number, name in enumerate(names)}
    numbers = np.array([places.get(name, -1) for name in dataset.class_names], np.int32)
    if isinstance(dataset, ClassificationDataset):
        images = (replace(example, label=int(numbers[example.label])) for example in dataset)
        return replace(dataset, class_names=tuple(names), examples=tuple(e for e in images if e.label >= 0))
    examples = []
    for example in dataset:
        labels = numbers[example.classes]
        kept = labels >= 0
        columns = {name: getattr(example, name)[kept] for name in ("boxes", "crowd", "area")}
        masks = None if example.masks is None else tuple(compress(example.masks, kept))
        examples.append(replace(example, classes=labels[kept], masks=masks, **columns))
    return replace(dataset, class_names=tuple(names), category_ids=_ids(dataset, names), examples=tuple(examples))


def chosen_classes(dataset: Dataset, classes: Sequence[str] | None, known: Sequence[str]) -> Dataset:
    """Return the data set reduced to `classes`, or unchanged for None.

    Raises:
        ValueError: a class is not in a model's classes `known` or occurs twice, or the data set has none of `classes`.
    """
    if classes is None:
        return dataset
    if lacking := [name for name in classes if name not in known]:
        raise ValueError(
            f"The model does not have these classes, only {some_of(known, show=repr)}. "
            f"Received: {some_of(lacking, show=repr)}"
        )
    if len(set(classes)) < len(classes):
        raise ValueError(f"A class occurs twice. Received: {some_of(classes, show=repr)}")
    if not set(classes) & set(dataset.class_names):
        raise ValueError(f"{dataset.name} has none of these classes. Received: {some_of(classes, show=repr)}")
    return only_classes(dataset, classes)


def _used(dataset: DetectionDataset | ClassificationDataset) -> set[int]:
    if isinstance(dataset, ClassificationDataset):
        return set(range(len(dataset.class_names)))
    return set(np.unique(np.concatenate([np.zeros(0, np.int32), *(e.classes for e in dataset)])).tolist())


def _ids(dataset: DetectionDataset, names: Sequence[str]) -> tuple[int, ...]:
    """Return the data set's category ids of `names`, and unused ids for the names that it lacks."""
    own = dict(zip(dataset.class_names, dataset.category_ids, strict=True))
    taken = {own[name] for name in names if name in own}
    free = (number for number in count(1) if number not in taken)
    return tuple(own[name] if name in own else next(free) for name in names)
