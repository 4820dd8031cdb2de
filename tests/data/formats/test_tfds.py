"""Test reading TFDS with a fake builder and files as TFDS 4.9.10 writes them."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from spinenet_tf.data.dataset import DataError, DetectionDataset
from spinenet_tf.data.formats.annotations import to_dataset
from spinenet_tf.data.formats.tfds import load_builder, read_tfds
from spinenet_tf.data.input.pipeline import check_images


def _feature(kind: str, values: list) -> tf.train.Feature:
    feature = tf.train.Feature()
    getattr(feature, kind).value.extend(values)
    return feature


def _record(example, number: int) -> bytes:
    boxes = example.boxes / [example.height, example.width, example.height, example.width]
    features = {
        "image": _feature("bytes_list", [example.path.read_bytes()]),
        "image/filename": _feature("bytes_list", [example.path.name.encode()]),
        "image/id": _feature("int64_list", [example.image_id]),
        "objects/bbox": _feature("float_list", boxes.ravel().tolist()),
        "objects/label": _feature("int64_list", example.classes.tolist()),
        "objects/area": _feature("int64_list", example.area.astype(int).tolist()),
        "objects/is_crowd": _feature("int64_list", [int(number == 1)] * len(example.classes)),
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


@pytest.fixture
def builder(tmp_path: Path, digits: DetectionDataset) -> SimpleNamespace:
    """Return a fake `tfds.builder` for the digits; the second image has crowds."""
    path = tmp_path / "digits-train.tfrecord-00000-of-00001"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for number, example in enumerate(digits):
            writer.write(_record(example, number))

    class Splits(dict):
        def __missing__(self, split: str):
            raise ValueError(f"Unknown split {split!r}.")

    def part(skip: int, take: int) -> SimpleNamespace:
        return SimpleNamespace(file_instructions=[SimpleNamespace(filename=str(path), skip=skip, take=take)])

    label = SimpleNamespace(names=list(digits.class_names), num_classes=len(digits.class_names))
    info = SimpleNamespace(
        full_name="digits/1.0.0",
        features={"image": None, "objects": {"label": label}},
        splits=Splits({"train": part(0, -1), "train[3:5]": part(3, 2)}),
    )
    return SimpleNamespace(name="digits", info=info)


def test_a_prepared_data_set_reads_as_coco_does(builder: SimpleNamespace, digits: DetectionDataset) -> None:
    dataset = to_dataset(load_builder(builder, "train"))
    assert dataset.class_names == digits.class_names
    assert dataset.category_ids == digits.category_ids
    for ours, theirs in zip(dataset, digits, strict=True):
        assert (ours.image_id, ours.path.name) == (theirs.image_id, theirs.path.name)
        np.testing.assert_allclose(ours.boxes, theirs.boxes, atol=1e-4)
        np.testing.assert_array_equal(ours.classes, theirs.classes)
        np.testing.assert_array_equal(ours.area, theirs.area)
    assert [example.crowd.any() for example in dataset] == [number == 1 for number in range(len(digits))]
    check_images(dataset)


def test_a_part_of_a_split_is_read_alone(builder: SimpleNamespace, digits: DetectionDataset) -> None:
    dataset = to_dataset(load_builder(builder, "train[3:5]"))
    assert [example.image_id for example in dataset] == [example.image_id for example in digits.examples[3:5]]


def test_what_is_not_prepared_or_not_detection_is_named(builder: SimpleNamespace) -> None:
    with pytest.raises(DataError, match=r"digits/1\.0\.0: there is no prepared split 'test'"):
        load_builder(builder, "test")
    builder.info.features = {"image": None, "label": None}
    with pytest.raises(DataError, match=r"digits/1\.0\.0: not a detection data set"):
        load_builder(builder, "train")


def test_a_missing_package_is_told_how_to_get(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ImportError, match=r"pip install spinenet_tf\[tfds\]"):
        read_tfds("coco/2017", "train")
