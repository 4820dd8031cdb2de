"""Test that writing and reading TFRecord files is lossless, and that errors name their cause."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from spinenet_tf.data.dataset import DataError, DetectionDataset
from spinenet_tf.data.formats.coco import load_coco, read_coco, write_coco
from spinenet_tf.data.formats.tfrecord import load_tfrecord, read_tfrecord
from spinenet_tf.data.formats.tfrecord_writer import write_tfrecord
from spinenet_tf.data.problems import Problems

# Ids with gaps and out of order, an unused category, a crowd, an image without objects, boxes over the border and
# without area, numbers that float32 does not hold, keys that are not about detection.
CONTENT = {
    "info": {"description": "a test", "year": 2017},
    "licenses": [{"id": 1, "name": "none"}],
    "images": [
        {"id": 391895, "file_name": "a.jpg", "height": 40, "width": 60, "license": 1},
        {"id": 9, "file_name": "sub/b.png", "height": 30, "width": 20},
        {"id": 522418, "file_name": "c.jpg", "height": 33, "width": 77, "date_captured": "2013-11-14"},
    ],
    "annotations": [
        {"id": 900100, "image_id": 522418, "category_id": 90, "bbox": [5.13, 7.77, 30.01, 15.55], "area": 123.45678912},
        {"id": 7, "image_id": 391895, "category_id": 1, "bbox": [1.1, 2.2, 30.7, 15.3], "area": 30.0, "iscrowd": 1,
         "segmentation": {"counts": [0, 12], "size": [40, 60]}},
        {"id": 8, "image_id": 391895, "category_id": 90, "bbox": [-4.5, 2, 15, 25], "iscrowd": 0, "area": 1e-3},
        {"id": 12, "image_id": 391895, "category_id": 1, "bbox": [3, 3, 0, 9], "area": 0, "iscrowd": 0},
    ],
    "categories": [
        {"id": 90, "name": "toothbrush", "supercategory": "indoor"},
        {"id": 17, "name": "cat"},
        {"id": 1, "name": "größer"},
    ],
}  # fmt: skip


@pytest.fixture
def coco(tmp_path: Path) -> tuple[Path, Path]:
    rng = np.random.default_rng(0)
    for entry in CONTENT["images"]:
        path = tmp_path / "images" / entry["file_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (entry["height"], entry["width"], 3), np.uint8)).save(path)
    (tmp_path / "train.json").write_text(json.dumps(CONTENT))
    return tmp_path / "train.json", tmp_path / "images"


@pytest.fixture
def shards(tmp_path: Path, coco: tuple[Path, Path]) -> list[Path]:
    return write_tfrecord(load_coco(*coco), tmp_path / "train", shards=3)


def _assert_equal(a: DetectionDataset, b: DetectionDataset) -> None:
    assert (a.class_names, a.category_ids) == (b.class_names, b.category_ids)
    for ours, theirs in zip(a, b, strict=True):
        assert (ours.image_id, ours.height, ours.width) == (theirs.image_id, theirs.height, theirs.width)
        assert ours.path.read_bytes() == theirs.path.read_bytes()
        for field in ("boxes", "classes", "crowd", "area"):
            np.testing.assert_array_equal(getattr(ours, field), getattr(theirs, field))


def test_coco_comes_back_from_tfrecord_as_it_was(tmp_path: Path, coco: tuple[Path, Path], shards: list[Path]) -> None:
    assert [path.name for path in shards] == [f"train-0000{i}-of-00003.tfrecord" for i in range(3)]
    back = write_coco(load_tfrecord(tmp_path / "train"), tmp_path / "back")
    found = json.loads(back.read_text())
    key = lambda entry: entry["id"]  # noqa: E731
    assert found.pop("annotations") == [
        entry for image in CONTENT["images"] for entry in CONTENT["annotations"] if entry["image_id"] == image["id"]
    ]
    assert sorted(found["categories"], key=key) == sorted(CONTENT["categories"], key=key)
    assert found == {name: value for name, value in CONTENT.items() if name != "annotations"}
    for entry in CONTENT["images"]:
        name = entry["file_name"]
        assert (tmp_path / "back" / "images" / name).read_bytes() == (coco[1] / name).read_bytes()
    _assert_equal(read_tfrecord(tmp_path / "train"), read_coco(*coco))
    _assert_equal(read_coco(back, back.parent / "images"), read_coco(*coco))


def _rewrite(path: Path, change: Callable[[tf.train.Example], None]) -> None:
    """Change each record of a file."""
    records = [tf.train.Example.FromString(record) for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()]
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            change(record)
            writer.write(record.SerializeToString())


def _drop(*keys: str) -> Callable[[tf.train.Example], None]:
    def change(record: tf.train.Example) -> None:
        for key in keys:
            record.features.feature.pop(key, None)

    return change


def _set(key: str, kind: str, values: list) -> Callable[[tf.train.Example], None]:
    def change(record: tf.train.Example) -> None:
        record.features.feature.pop(key, None)
        getattr(record.features.feature[key], kind).value.extend(values)

    return change


def test_ids_of_64_bits_come_back_whatever_their_sign(tmp_path: Path, coco: tuple[Path, Path]) -> None:
    """Doubles cannot represent them."""
    ids = {391895: 2**63 - 1, 9: -(2**63), 522418: 202601011234567891}
    content = json.loads(coco[0].read_text())
    for entry in content["images"]:
        entry["id"] = ids[entry["id"]]
    for entry in content["annotations"]:
        entry["image_id"] = ids[entry["image_id"]]
    content["categories"][0]["id"] = 2**53 + 1
    content["annotations"] = [entry for entry in content["annotations"] if entry["category_id"] != 90]
    coco[0].write_text(json.dumps(content))
    write_tfrecord(load_coco(*coco), tmp_path / "large")
    found = read_tfrecord(tmp_path / "large")
    assert [example.image_id for example in found] == [2**63 - 1, -(2**63), 202601011234567891]
    assert found.category_ids == (1, 17, 2**53 + 1)
    back = json.loads(write_coco(load_tfrecord(tmp_path / "large"), tmp_path / "back").read_text())
    assert back == content


def test_records_of_other_tools_have_the_schema_alone(tmp_path: Path, coco, shards: list[Path]) -> None:
    """Without our own feature and file, boxes have float32 precision, and a category without objects is lost."""
    (tmp_path / "train" / "categories.json").unlink()
    for path in shards:
        _rewrite(path, _drop("image/coco"))
    ours, theirs = read_tfrecord(tmp_path / "train"), read_coco(*coco)
    assert ours.category_ids == (1, 90)
    assert ours.class_names == ("größer", "toothbrush")
    assert [example.image_id for example in ours] == [example.image_id for example in theirs]
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.boxes, b.boxes, atol=1e-5)
        np.testing.assert_allclose(a.area, b.area, rtol=1e-6)
        np.testing.assert_array_equal(a.crowd, b.crowd)
    assert read_tfrecord(tmp_path / "train", categories=coco[0]).class_names == theirs.class_names


ITEMS = 'item { id: 90 name: "%s" } item { id: 17 name: "cat" } item { id: 1 name: "%s" }'


def test_a_label_map_names_classes_that_no_record_has(tmp_path: Path, coco, shards: list[Path]) -> None:
    """Training and validation records may lack different classes, but must have the same list."""
    (tmp_path / "train" / "categories.json").unlink()
    (tmp_path / "train" / "label_map.pbtxt").write_text(ITEMS % ("toothbrush", "größer"))
    (tmp_path / "other.pbtxt").write_text(ITEMS % ("brush", "large"))
    found = read_tfrecord(tmp_path / "train")
    assert (found.class_names, found.category_ids) == (("größer", "cat", "toothbrush"), (1, 17, 90))
    theirs = read_coco(*coco)
    for ours, expected in zip(found, theirs, strict=True):
        np.testing.assert_array_equal(ours.classes, expected.classes)
    other = read_tfrecord(tmp_path / "train", categories=tmp_path / "other.pbtxt")
    assert other.class_names == ("large", "cat", "brush"), "records may name classes in another language"


@pytest.mark.parametrize("name", ["label_map.pbtxt", "categories.json"])
def test_a_list_that_gives_names_to_other_classes_than_the_records_is_refused(
    tmp_path: Path, shards: list[Path], name: str
) -> None:
    swapped = [{"id": 90, "name": "größer"}, {"id": 17, "name": "cat"}, {"id": 1, "name": "toothbrush"}]
    text = ITEMS % ("größer", "toothbrush") if name.endswith("pbtxt") else json.dumps({"categories": swapped})
    (tmp_path / "train" / "categories.json").unlink()
    (tmp_path / "train" / name).write_text(text)
    message = r"record 0, image 391895, object 0: class 1 is 'größer' here, but 'toothbrush' in .*" + name
    with pytest.raises(DataError, match=message):
        read_tfrecord(tmp_path / "train")


def test_optional_features_may_be_missing(tmp_path: Path, shards: list[Path]) -> None:
    optional = ("is_crowd", "area", "class/text")
    for path in shards:
        _rewrite(path, _drop("image/coco", "image/filename", "image/height", *(f"image/object/{k}" for k in optional)))
        _rewrite(path, _set("image/source_id", "bytes_list", [b"a name"]))
    (tmp_path / "train" / "categories.json").unlink()
    dataset = read_tfrecord(tmp_path / "train")
    assert dataset.class_names == ("1", "90")
    assert [example.image_id for example in dataset] == [1, 2, 3]
    assert [(example.height, example.width) for example in dataset] == [(40, 60), (30, 20), (33, 77)]
    assert not dataset.examples[0].crowd.any()
    np.testing.assert_allclose(dataset.examples[2].area, 30.01 * 15.55, rtol=1e-5)


def test_the_schema_goes_before_our_own_feature(tmp_path: Path, shards: list[Path]) -> None:
    _rewrite(shards[2], _set("image/object/bbox/xmin", "float_list", [0.5 * 5.13 / 77]))
    box = read_tfrecord(tmp_path / "train").examples[2].boxes[0]
    np.testing.assert_allclose(box, [7.77, 0.5 * 5.13, 23.32, 35.14], rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_drop("image/encoded"), "record 0: it must have exactly one image/encoded"),
        (_set("image/object/area", "float_list", [1.0, 2.0, 3.0, 4.0]), "record 0: its features differ in length"),
        (_set("image/coco", "bytes_list", [b"[]"]), "record 0: its image/coco was not written"),
        (_set("image/object/class/text", "bytes_list", [b"\xff"] * 3), "class/text is not UTF-8"),
        (_set("image/object/class/label", "int64_list", [1, 90, 2]), "record 0, image 391895, object 2: unknown cat"),
        (
            _set("image/object/bbox/xmin", "float_list", [0.1, float("nan"), 0.2]),
            "record 0, image 391895, object 1: a box must be four finite numbers",
        ),
        (
            _set("image/object/bbox/xmin", "float_list", [0.1, 0.9, 0.2]),
            "record 0, image 391895, object 1: the box has a negative size",
        ),
        (_set("image/height", "int64_list", [0]), "record 0, image 391895: sizes must be positive"),
    ],
)
def test_a_fault_is_named_with_file_and_record(tmp_path: Path, shards: list[Path], change, message: str) -> None:
    _rewrite(shards[0], change)
    with pytest.raises(DataError) as caught:
        read_tfrecord(tmp_path / "train")
    assert message in str(caught.value)
    assert str(shards[0]) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_checking_goes_on_behind_a_fault(tmp_path: Path, shards: list[Path]) -> None:
    _rewrite(shards[0], _drop("image/encoded"))
    shards[1].write_bytes(shards[1].read_bytes()[:-1])
    problems = Problems(keep_going=True)
    load_tfrecord(tmp_path / "train", problems=problems)
    assert [problem.place for problem in problems.found] == [(shards[0], "record 0"), (shards[1], "record 0")]


@pytest.mark.parametrize(
    "damage",
    [lambda b: b[:-3], lambda b: b[:200] + bytes([b[200] ^ 1]) + b[201:], lambda b: b"no", lambda b: b + b"rest"],
)
def test_a_damaged_file_is_refused_with_the_record(tmp_path: Path, shards: list[Path], damage) -> None:
    shards[1].write_bytes(damage(shards[1].read_bytes()))
    with pytest.raises(DataError, match=r"00001-of-00003\.tfrecord: record \d: the file is corrupt"):
        read_tfrecord(tmp_path / "train")


def test_what_is_no_example_is_refused(tmp_path: Path) -> None:
    with tf.io.TFRecordWriter(str(tmp_path / "a.tfrecord")) as writer:
        writer.write(b"no protocol buffer")
    with pytest.raises(DataError, match=r"a\.tfrecord: record 0: not a tf\.train\.Example"):
        read_tfrecord(tmp_path / "a.tfrecord")


def test_shards_are_found_by_folder_pattern_prefix_and_name(tmp_path: Path, shards: list[Path]) -> None:
    folder = tmp_path / "train"
    for path in (folder, folder / "train-*", folder / "train"):
        assert len(read_tfrecord(path)) == 3
    assert len(read_tfrecord(shards[0])) == 1
    (folder / "val-00000-of-00001.tfrecord").write_bytes(b"")
    assert len(read_tfrecord(folder / "train")) == 3
    with pytest.raises(DataError, match="several data sets; choose one: train, val"):
        read_tfrecord(folder)
    shards[1].unlink()
    with pytest.raises(DataError, match="found 2 of 3 shards; missing: 00001"):
        read_tfrecord(folder / "train")
    with pytest.raises(DataError, match="there are no TFRecord files"):
        read_tfrecord(folder / "test")


def test_of_many_missing_shards_the_first_are_named(tmp_path: Path) -> None:
    (tmp_path / "train-00001-of-03000.tfrecord").write_bytes(b"")
    names = ", ".join(f"{number:05d}" for number in (0, *range(2, 11)))
    with pytest.raises(DataError, match=f"found 1 of 3000 shards; missing: {names} and 2989 more$"):
        read_tfrecord(tmp_path)


def test_writing_leaves_nothing_behind_when_it_fails(tmp_path: Path, coco: tuple[Path, Path]) -> None:
    def stop(images: list, total: int, title: str):
        assert (total, title) == (len(images), "Writing")
        yield images[0]
        raise KeyboardInterrupt

    before = sorted(tmp_path.rglob("*"))
    for write in (write_tfrecord, write_coco):
        with pytest.raises(KeyboardInterrupt):
            write(load_coco(*coco), tmp_path / "new", track=stop)
        with pytest.raises(FileExistsError, match="exists"):
            write(load_coco(*coco), tmp_path / "images")
    with pytest.raises(DataError, match="1 to 3 shards"):
        write_tfrecord(load_coco(*coco), tmp_path / "new", shards=4)
    (coco[1] / "c.jpg").write_bytes((coco[1] / "a.jpg").read_bytes())
    with pytest.raises(DataError, match=r"c\.jpg: the image is 40 x 60 pixels"):
        write_tfrecord(load_coco(*coco), tmp_path / "new")
    assert sorted(tmp_path.rglob("*")) == before


def test_file_names_in_records_do_not_lead_out_of_the_new_folder(tmp_path: Path, shards: list[Path]) -> None:
    _rewrite(shards[2], _set("image/filename", "bytes_list", [b"../../escaped.jpg"]))
    with pytest.raises(DataError, match="record 0, image 522418: the file name leads out"):
        write_coco(load_tfrecord(tmp_path / "train"), tmp_path / "back")
    _rewrite(shards[2], _set("image/filename", "bytes_list", [b"a.jpg"]))
    with pytest.raises(DataError, match="another image has the same file name"):
        write_coco(load_tfrecord(tmp_path / "train"), tmp_path / "back")
    assert not (tmp_path / "back").exists()
