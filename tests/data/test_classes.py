"""Test that classes are matched by name; numbers may differ, and a data set may lack some classes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spinenet_tf.data.classes import only_classes, unknown_classes, with_classes
from spinenet_tf.data.dataset import (
    ClassificationDataset,
    ClassificationExample,
    DataError,
    DetectionDataset,
    Example,
)
from spinenet_tf.data.masks import RunLengthMask


def detection(*labels: list[int]) -> DetectionDataset:
    """Return images with objects of these classes; box and area encode the object's number in the image."""
    examples = []
    for key, own in enumerate(labels, start=7):
        rows = np.arange(len(own), dtype=np.float32)
        boxes = np.stack([rows, rows, rows + 1, rows + 1], axis=1).reshape(-1, 4)
        crowd = rows == 1
        examples.append(Example(key, Path(f"{key}.jpg"), 64, 64, boxes, np.array(own, np.int32), crowd, rows + 1))
    return DetectionDataset("pets", ("cat", "dog", "cow"), (3, 1, 9), tuple(examples))


def folders(*labels: int) -> ClassificationDataset:
    images = tuple(ClassificationExample(Path(f"{number}.jpg"), label) for number, label in enumerate(labels))
    return ClassificationDataset("pets", ("cat", "dog", "cow"), images)


def test_objects_are_renumbered_and_all_else_stays() -> None:
    before = detection([2, 0, 2], [], [0])
    after = with_classes(before, ("cow", "bird", "cat"))
    assert (after.name, after.class_names) == ("pets", ("cow", "bird", "cat"))
    assert after.category_ids == (9, 1, 3), "1 is free, for the dog is left out"
    assert [example.classes.tolist() for example in after] == [[0, 2, 0], [], [2]]
    assert after.examples[0].classes.dtype == np.int32
    for ours, theirs in zip(after, before, strict=True):
        assert ours.image_id == theirs.image_id
        for name in ("boxes", "crowd", "area"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))


def test_images_of_classes_are_renumbered() -> None:
    after = with_classes(folders(2, 0, 0), ("cow", "bird", "cat", "dog"))
    assert after.class_names == ("cow", "bird", "cat", "dog")
    assert [example.label for example in after] == [0, 2, 2]


@pytest.mark.parametrize("dataset", [detection([0, 1], [2]), folders(0, 1, 2)], ids=["detection", "classification"])
def test_what_the_data_set_has_is_not_left_out_unasked(dataset) -> None:
    assert unknown_classes(dataset, ["dog"]) == ["cat", "cow"]
    with pytest.raises(DataError, match=r"^pets: it has classes that are not in 'dog'\. Received: 'cat', 'cow'$"):
        with_classes(dataset, ("dog",))


def test_those_that_are_asked_for_are_all_that_is_left() -> None:
    after = only_classes(detection([0, 1, 2, 1], [2]), ("dog", "bird"))
    assert (after.class_names, after.category_ids) == (("dog", "bird"), (1, 2))
    first, second = after
    assert (first.classes.tolist(), first.area.tolist(), first.crowd.tolist()) == ([0, 0], [2, 4], [True, False])
    assert first.boxes[:, 0].tolist() == [1, 3]
    assert second.boxes.shape == (0, 4)
    assert [example.path.name for example in only_classes(folders(0, 1, 2, 1), ("dog",))] == ["1.jpg", "3.jpg"]


def test_masks_stay_with_their_objects() -> None:
    before = detection([0, 1, 2, 1], [])
    masks = (None, *(RunLengthMask.of(np.eye(64) * number > 0) for number in (1, 2, 3)))
    examples = (replace(before[0], masks=masks), replace(before[1], masks=()))
    after = only_classes(replace(before, examples=examples), ("dog", "cat"))
    assert [example.masks for example in after] == [(None, masks[1], masks[3]), ()]
    assert [example.masks for example in only_classes(before, ("dog",))] == [None, None]


def test_a_class_without_objects_is_no_stranger() -> None:
    assert unknown_classes(detection([0], []), ["cat"]) == []
    assert with_classes(detection([0]), ("cat",)).class_names == ("cat",)
    assert with_classes(detection(), ()).examples == ()
