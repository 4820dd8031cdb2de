"""Test that one data set reads the same in every format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spinenet_tf.data.dataset import ClassificationDataset, DataError, DetectionDataset, ImageError
from spinenet_tf.data.formats.tfrecord_writer import write_tfrecord
from spinenet_tf.data.input.pipeline import check_images, evaluation_batches
from spinenet_tf.data.reading import load, read
from spinenet_tf.training.sources import CocoSource, TfrecordSource, VocSource, YoloSource


@pytest.fixture
def sources(tmp_path: Path, digits_folder: Path, yolo_folder: Path, voc_folder: Path) -> dict[str, Path]:
    write_tfrecord(load(str(digits_folder)), tmp_path / "records", shards=5)
    return {"coco": digits_folder, "tfrecord": tmp_path / "records", "yolo": yolo_folder, "voc": voc_folder}


@pytest.mark.parametrize("format", ["coco", "tfrecord", "yolo", "voc"])
def test_every_format_gives_the_same_data_set(sources: dict[str, Path], digits: DetectionDataset, format: str) -> None:
    dataset = read(sources[format])
    assert isinstance(dataset, DetectionDataset)
    assert dataset.class_names == digits.class_names
    assert dataset.category_ids == digits.category_ids
    assert len(dataset) == len(digits)
    for ours, theirs in zip(dataset, digits, strict=True):
        assert (ours.image_id, ours.height, ours.width) == (theirs.image_id, theirs.height, theirs.width)
        assert ours.path.name == theirs.path.name
        assert ours.path.read_bytes() == theirs.path.read_bytes()
        np.testing.assert_allclose(ours.boxes, theirs.boxes, rtol=0, atol=1e-4)
        for field in ("classes", "crowd"):
            np.testing.assert_array_equal(getattr(ours, field), getattr(theirs, field))
        if format in ("coco", "tfrecord"):  # the others do not keep the area of a mask
            np.testing.assert_array_equal(ours.area, theirs.area)
    check_images(dataset)


def test_images_inside_records_are_decoded_like_files(sources: dict[str, Path], digits: DetectionDataset) -> None:
    records = read(sources["tfrecord"])
    batches = (evaluation_batches(dataset, (64, 96), 4) for dataset in (records, digits))
    for (ours, our_targets), (theirs, their_targets) in zip(*batches, strict=True):
        np.testing.assert_array_equal(ours, theirs)
        for key in our_targets:
            np.testing.assert_array_equal(our_targets[key], their_targets[key])


def test_a_path_that_is_no_data_set_is_told_what_would_be(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    for path in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(DataError, match="a COCO file"):
            read(path)
    with pytest.raises(DataError, match="no such file or folder"):
        read(tmp_path / "none")
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "a.jpg").write_bytes(b"")
    with pytest.raises(DataError, match="has no boxes"):
        load(tmp_path)


def test_an_argument_of_another_format_is_refused(sources: dict[str, Path]) -> None:
    """An ignored `split` would mean training on the validation images."""
    for format, given, formats in (
        ("coco", {"split": "val"}, "yolo, voc, tfds, image_folder"),
        ("tfrecord", {"split": "val"}, "yolo, voc, tfds, image_folder"),
        ("yolo", {"images": "photos"}, "coco"),
        ("voc", {"categories": "names.json"}, "tfrecord"),
        ("coco", {"data_dir": "prepared"}, "tfds"),
    ):
        name, value = next(iter(given.items()))
        message = f"{name} applies to {formats}, but this is {format}. Received: {name}={value}"
        with pytest.raises(DataError, match=message):
            read(sources[format], **given)


def test_arguments_reach_the_reader_of_the_format(sources: dict[str, Path], tmp_path: Path) -> None:
    assert read(sources["yolo"] / "data.yaml", split="val").name == "yolo-val"
    with pytest.raises(DataError, match="nowhere"):
        read(sources["voc"], split="nowhere")
    coco = sources["coco"]
    assert len(read(coco / "annotations.json", images=coco / "images")) == len(read(coco))
    with pytest.raises(DataError, match="image folder does not exist"):
        read(sources["coco"] / "annotations.json", images=tmp_path / "photos")
    with pytest.raises(DataError, match=r"names\.json: cannot be read"):
        read(sources["tfrecord"], categories=tmp_path / "names.json")
    with pytest.raises(ImageError, match="too many pixels"):
        read(sources["coco"], max_pixels=100)
    assert read(sources["coco"], max_pixels=10**6).max_pixels == 10**6


def test_class_folders_are_read_for_classification_also_by_split(tmp_path: Path) -> None:
    for split, count in (("train", 2), ("val", 1)):
        for name in ("cat", "dog"):
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(count):
                (tmp_path / split / name / f"{number}.jpg").write_bytes(b"")
    whole = read(tmp_path / "train", max_pixels=99)
    part = read(tmp_path, split="val")
    assert isinstance(whole, ClassificationDataset)
    assert (len(whole), len(part), whole.max_pixels) == (4, 2, 99)
    assert whole.class_names == part.class_names == ("cat", "dog")
    with pytest.raises(DataError, match="test: there is no such folder"):
        read(tmp_path, split="test")


def test_configs_read_what_their_sources_name(sources: dict[str, Path]) -> None:
    described = sources["yolo"] / "data.yaml"
    read = [
        CocoSource(annotations=sources["coco"] / "annotations.json", images=sources["coco"] / "images"),
        TfrecordSource(tfrecords=sources["tfrecord"]),
        YoloSource(yolo=described),
        YoloSource(yolo=described, split="train"),
        VocSource(voc=sources["voc"]),
    ]
    datasets = [source.read("val") for source in read]
    assert [dataset.name for dataset in datasets] == ["annotations", "records", "yolo-val", "yolo-train", "voc"]
    assert len({dataset.class_names for dataset in datasets}) == 1
