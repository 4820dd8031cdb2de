"""Check the class names and category ids of a model, and compare those in a file with the model's."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spinenet_tf._files.messages import some_of


class ClassNamesError(ValueError):
    """The class names in a file differ from the model's, so that the model would report wrong classes."""


@dataclass(frozen=True)
class Classes:
    """The number of a model's classes, their names, and their ids in COCO files; None if unknown."""

    count: int
    names: tuple[str, ...] | None = None
    category_ids: tuple[int, ...] | None = None

    @classmethod
    def of(
        cls,
        num_classes: int | None = None,
        class_names: Sequence[str] | None = None,
        category_ids: Sequence[int] | None = None,
    ) -> Classes:
        """Return the classes of a number, of names, or of both, which must agree.

        Raises:
            ValueError: both are missing, `category_ids` are given without names, or see `checked_names` and
                `checked_ids`.
        """
        if class_names is None:
            if num_classes is None or category_ids is not None:
                received = f"{num_classes=}, {class_names=}, {category_ids=!r:.100}"
                raise ValueError(f"A model needs `num_classes` or `class_names`. Received: {received}")
            return cls(num_classes)
        names = checked_names(class_names, num_classes)
        return cls(len(names), names, None if category_ids is None else checked_ids(category_ids, len(names)))


def checked_names(class_names: Sequence[str], num_classes: int | None = None) -> tuple[str, ...]:
    """Return class names as a tuple.

    Raises:
        ValueError: they are not a list or a tuple of strings, one is empty or occurs twice, or their number is not
            `num_classes`.
    """
    if not isinstance(class_names, Sequence) or isinstance(class_names, str):
        raise ValueError(f"`class_names` must be a list of strings. Received: class_names={class_names!r:.100}")
    names = tuple(class_names)
    if odd := [name for name in names if not isinstance(name, str) or not name.strip()]:
        raise ValueError(f"A class name must be a string that is not empty. Received: {odd[0]!r:.100}")
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise ValueError(f"Each class needs a different name. Received twice: {some_of(twice, show=repr)}")
    if num_classes not in (None, len(names)):
        raise ValueError(f"`num_classes` must be the number of class names, {len(names)}. Received: {num_classes=}")
    return names


def checked_ids(category_ids: Sequence[int], num_classes: int) -> tuple[int, ...]:
    """Return category ids as a tuple of Python integers.

    Raises:
        ValueError: one is not an integer or occurs twice, or their number is not `num_classes`.
    """
    try:
        ids = tuple(operator.index(number) for number in category_ids)
    except TypeError:
        raise ValueError(f"`category_ids` must be integers. Received: category_ids={category_ids!r:.100}") from None
    if len(ids) != num_classes or len(set(ids)) < num_classes:
        received = f"{len(ids)}, {len(set(ids))} of them different"
        raise ValueError(f"`category_ids` must be {num_classes} different integers. Received: {received}")
    return ids


def default_ids(options: Any, num_classes: int) -> tuple[int, ...] | None:
    """Return the category ids of a model with these options of the head; None if they are unknown.

    With a background class, 0, the other class numbers are category ids, as in TF Model Garden.
    """
    return tuple(range(num_classes)) if getattr(options, "background", False) else None


def check_same(path: str | Path, theirs: Sequence[str], ours: Sequence[str]) -> None:
    """Check that a file has the class names of a model, in the same order.

    Raises:
        ClassNamesError: a name differs; the message lists the differences.
    """
    if odd := _differences("file", theirs, ours):
        other = "the model's classes in another order" if set(theirs) == set(ours) else "other classes than the model"
        raise ClassNamesError(
            f"{path} has {other}: {odd}. Build the model without class names to take those of the file; then "
            "an assignment to `model.class_names` renames them."
        )


def check_data(theirs: Sequence[str], ours: Sequence[str]) -> None:
    """Check that each class of a data set has the same number in a model, which may have more classes.

    Raises:
        ClassNamesError: a name differs; the message lists the differences.
    """
    if odd := _differences("data", theirs, [*ours, *[None] * len(theirs)][: len(theirs)]):
        raise ClassNamesError(
            f"The data and the model number the classes differently: {odd}. Renumber those of the data by "
            "`dataset.with_classes(model.class_names)`."
        )


def _differences(where: str, theirs: Sequence[str], ours: Sequence[str | None]) -> str:
    pairs = enumerate(zip(theirs, ours, strict=True))
    odd = [f"class {n} is {there!r} in the {where}, {own!r} in the model" for n, (there, own) in pairs if there != own]
    return some_of(odd, "; ")


def classes_in(note: Mapping[str, Any], num_classes: int) -> Classes:
    """Return the classes in the note of a weights file; raise ValueError as `Classes.of` does."""
    return Classes.of(num_classes, note.get("class_names"), note.get("category_ids"))
