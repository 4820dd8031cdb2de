"""Test the checks of annotations that all formats share."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from spinenet_tf.data.dataset import DataError
from spinenet_tf.data.formats.annotations import Annotations, Entry, to_dataset
from spinenet_tf.data.problems import Place, Problems

IMAGE = {"id": 1, "file_name": "1.png", "height": 40, "width": 60}


def _read(categories: list[Entry], annotations: list[Entry] | None = None) -> Annotations:
    source = Path("a.json")
    return Annotations(
        name="a",
        source=source,
        images=[IMAGE],
        annotations=annotations or [],
        categories=categories,
        find_image=lambda entry: Path(entry["file_name"]),
        place=lambda noun, entry: Place(source, f"{noun} {entry['id']}"),
    )


def test_many_classes_cost_no_more_than_their_number() -> None:
    """A YOLO line with class 99,999 creates as many classes; comparing all pairs of names would take minutes."""
    count = 100_000
    start = time.process_time()
    dataset = to_dataset(_read([{"id": key, "name": str(key)} for key in range(count)]))
    assert time.process_time() - start < 10
    assert len(dataset.class_names) == count
    assert dataset.class_names[-1] == "99999"


@pytest.mark.parametrize("name", ["cat", 5, "", ["cat"], None])
def test_a_class_name_is_text_and_unique(name: object) -> None:
    with pytest.raises(DataError, match=r"category 2: names must be unique text. Received: name="):
        to_dataset(_read([{"id": 1, "name": "cat"}, {"id": 2, "name": name}]))


def test_a_name_at_fault_is_told_once_and_not_for_each_object() -> None:
    problems = Problems(keep_going=True)
    boxes = [{"id": key, "image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4]} for key in (7, 8)]
    to_dataset(_read([{"id": 1, "name": "5"}, {"id": 2, "name": 5}], boxes), problems)
    assert [problem.place.entry for problem in problems.found] == ["category 2"]
