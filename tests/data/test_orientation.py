"""Test conversion of images and boxes between stored pixels, as TensorFlow decodes them, and upright images."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from spinenet_tf.data.checking import check
from spinenet_tf.data.dataset import DetectionDataset
from spinenet_tf.data.formats.annotations import to_dataset
from spinenet_tf.data.formats.coco import load_coco, write_coco
from spinenet_tf.data.formats.tfds import load_builder
from spinenet_tf.data.formats.tfrecord import load_tfrecord, read_tfrecord
from spinenet_tf.data.formats.tfrecord_writer import write_tfrecord
from spinenet_tf.data.images import read_image, read_size, read_stored
from spinenet_tf.data.input.pipeline import check_images
from spinenet_tf.data.orientation import TURNS, stored_boxes, turned_size, upright_boxes, upright_image
from spinenet_tf.data.problems import Problems

ORIENTATIONS = range(1, 9)
SIZE = (48, 80)  # of the stored pixels; all sides and distances are whole blocks of a JPEG
BOX = (8, 16, 24, 56)  # of the bright object in them


def encoded(orientation: int, size: tuple[int, int] = SIZE, box: tuple[int, ...] = BOX, format: str = "JPEG") -> bytes:
    """Return an image file whose stored pixels are dark except for a box."""
    pixels = np.full((*size, 3), 10, np.uint8)
    pixels[box[0] : box[2], box[1] : box[3]] = 240
    exif = Image.Exif()
    exif[0x0112] = orientation
    quality = {"quality": 95} if format == "JPEG" else {}
    Image.fromarray(pixels).save(file := io.BytesIO(), format, exif=exif, **quality)
    return file.getvalue()


def box_in(image: np.ndarray) -> list[float]:
    """Return the yxyx box of the bright pixels."""
    bright = np.asarray(image).mean(axis=-1) > 128
    rows, columns = np.flatnonzero(bright.any(1)), np.flatnonzero(bright.any(0))
    return [rows[0], columns[0], rows[-1] + 1, columns[-1] + 1]


def feature(values: Any) -> tf.train.Feature:
    values = list(values)
    if isinstance(values[0], bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
    if isinstance(values[0], int):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def write_records(path: Path, *records: dict[str, Any]) -> Path:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            features = {key: feature(values) for key, values in record.items()}
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    return path


def of_schema(image: bytes, size: tuple[int, int] | None, box: Any, **more: Any) -> dict[str, Any]:
    """Return features in TF Model Garden's schema; `box` is relative."""
    sides = {
        f"image/object/bbox/{side}": [float(x)] for side, x in zip(("ymin", "xmin", "ymax", "xmax"), box, strict=True)
    }
    sizes = {"image/height": [size[0]], "image/width": [size[1]]} if size else {}
    return {"image/encoded": [image], "image/object/class/label": [1], **sizes, **sides, **more}


def assert_upright(dataset: DetectionDataset) -> None:
    """Check that each image's only box is at the bright object in the image that `read_image` returns."""
    for example in dataset:
        image = read_image(example.path)
        assert (example.height, example.width) == image.shape[:2] == read_size(example.path)
        np.testing.assert_allclose(example.boxes, [box_in(image)], atol=1e-4)
    check_images(dataset)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_images_and_boxes_turn_together_and_back(orientation: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    pixels[BOX[0] : BOX[2], BOX[1] : BOX[3]] = 255
    pixels[..., :][pixels.min(axis=-1) < 255] //= 2
    picture = Image.fromarray(pixels)
    picture.getexif()[0x0112] = orientation
    seen = upright_image(pixels, orientation)
    np.testing.assert_array_equal(seen, ImageOps.exif_transpose(picture))
    assert seen.shape[:2] == turned_size(*SIZE, orientation)
    boxes = upright_boxes(np.array([BOX]), *SIZE, orientation)
    np.testing.assert_array_equal(boxes, [box_in(seen)])
    np.testing.assert_array_equal(stored_boxes(boxes, *SIZE, orientation), [BOX])
    assert upright_boxes(np.zeros((0, 4)), *SIZE, orientation).shape == (0, 4)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_file_tells_its_stored_size_and_its_turn(tmp_path: Path, orientation: int, format: str) -> None:
    (path := tmp_path / "a").write_bytes(encoded(orientation, format=format))
    assert read_stored(path) == (*SIZE, orientation)
    assert read_size(path) == turned_size(*SIZE, orientation)


@pytest.mark.parametrize("sized", [True, False])
def test_boxes_of_the_schema_are_of_the_pixels_that_tensorflow_decodes(tmp_path: Path, sized: bool) -> None:
    files = [encoded(orientation) for orientation in ORIENTATIONS]
    judged = [np.asarray(tf.io.decode_jpeg(file)) for file in files]
    path = write_records(
        tmp_path / "a.tfrecord",
        *(of_schema(file, image.shape[:2] if sized else None, np.array(box_in(image)) / (*SIZE, *SIZE))
          for file, image in zip(files, judged, strict=True)),
    )  # fmt: skip
    dataset = read_tfrecord(path)
    assert len({tuple(example.boxes[0]) for example in dataset}) == len(TURNS)
    assert_upright(dataset)


def test_boxes_of_tfds_are_of_the_pixels_that_tensorflow_decodes(tmp_path: Path) -> None:
    files = [encoded(orientation) for orientation in ORIENTATIONS]
    boxes = [np.array(box_in(tf.io.decode_jpeg(file))) / (*SIZE, *SIZE) for file in files]
    records = (
        {"image": [file], "objects/bbox": box, "objects/label": [0]} for file, box in zip(files, boxes, strict=True)
    )
    path = write_records(tmp_path / "a-train.tfrecord-00000-of-00001", *records)
    part = SimpleNamespace(file_instructions=[SimpleNamespace(filename=str(path), skip=0, take=-1)])
    features = {"objects": {"label": SimpleNamespace(names=["a"], num_classes=1)}}
    info = SimpleNamespace(full_name="a/1.0.0", features=features, splits={"train": part})
    assert_upright(to_dataset(load_builder(SimpleNamespace(name="a", info=info), "train")))


@pytest.fixture
def coco(tmp_path: Path) -> tuple[Path, Path]:
    """Return annotations of upright images, as people draw them, and the image folder."""
    (images := tmp_path / "images").mkdir()
    content: dict[str, list] = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}]}
    for orientation in ORIENTATIONS:
        (images / f"{orientation}.jpg").write_bytes(encoded(orientation))
        image = read_image(images / f"{orientation}.jpg")
        top, left, bottom, right = (int(side) for side in box_in(image))
        names = {"id": orientation, "file_name": f"{orientation}.jpg"}
        content["images"].append(names | {"height": image.shape[0], "width": image.shape[1]})
        box = {
            "bbox": [left, top, right - left, bottom - top],
            "segmentation": [[left, top, right, top, right, bottom]],
        }
        content["annotations"].append({"id": orientation, "image_id": orientation, "category_id": 1} | box)
    (tmp_path / "a.json").write_text(json.dumps(content))
    return tmp_path / "a.json", images


def test_what_is_written_is_of_stored_pixels_and_comes_back(tmp_path: Path, coco: tuple[Path, Path]) -> None:
    """Image bytes are unchanged, boxes fit TensorFlow's decoded image, and COCO is restored."""
    (file,) = write_tfrecord(load_coco(*coco), tmp_path / "records")
    for orientation, record in enumerate(tf.data.TFRecordDataset(str(file)).as_numpy_iterator(), start=1):
        features = tf.train.Example.FromString(record).features.feature
        (content,) = features["image/encoded"].bytes_list.value
        assert content == (coco[1] / f"{orientation}.jpg").read_bytes()
        image = tf.io.decode_jpeg(content)
        assert [features[f"image/{side}"].int64_list.value[0] for side in ("height", "width")] == [*image.shape[:2]]
        sides = [features[f"image/object/bbox/{side}"].float_list.value[0] for side in ("ymin", "xmin", "ymax", "xmax")]
        np.testing.assert_allclose(np.array(sides) * [*SIZE, *SIZE], box_in(image), atol=1e-4)
    problems = Problems(keep_going=True)
    back = write_coco(load_tfrecord(tmp_path / "records", problems=problems), tmp_path / "back")
    assert not problems.found
    assert json.loads(back.read_text()) == json.loads(coco[0].read_text())
    assert_upright(read_tfrecord(tmp_path / "records"))


def earlier(path: Path, file: Path, size: tuple[int, int] = SIZE, told: bool = True) -> None:
    """Rewrite a file as earlier versions wrote it, with upright sizes and boxes in all features."""
    records = [tf.train.Example.FromString(record) for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator()]
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            features = record.features.feature
            coco = json.loads(features["image/coco"].bytes_list.value[0])
            height, width = coco["image"]["height"], coco["image"]["width"]
            left, top, w, h = coco["annotations"][0]["bbox"]
            sides = np.array([top / height, left / width, (top + h) / height, (left + w) / width])
            for side, value in zip(("ymin", "xmin", "ymax", "xmax"), sides, strict=True):
                features[f"image/object/bbox/{side}"].float_list.value[:] = [value]
            for side, value in (("height", height), ("width", width)):
                features[f"image/{side}"].int64_list.value[:] = [value]
            if not told:
                del features["image/coco"]
            writer.write(record.SerializeToString())


def test_records_that_were_written_before_are_read_as_upright_and_noted(tmp_path: Path, coco, caplog) -> None:
    (file,) = write_tfrecord(load_coco(*coco), tmp_path / "records")
    earlier(tmp_path / "old.tfrecord", file)
    assert_upright(
        to_dataset(load_tfrecord(tmp_path / "old.tfrecord", problems=(problems := Problems(keep_going=True))))
    )
    assert [problem.place.entry for problem in problems.found] == [f"record {number}" for number in range(1, 8)]
    assert all("upright" in problem.message and not problem.refused for problem in problems.found)
    read_tfrecord(tmp_path / "old.tfrecord")
    assert [record.getMessage().split(": ")[1] for record in caplog.records] == ["7 of 8 records"]
    assert [p.message for p in check(str(tmp_path / "old.tfrecord")).problems] == [problems.found[0].message] * 7


def test_sizes_tell_of_upright_boxes_where_nothing_else_does(tmp_path: Path, coco) -> None:
    """In records of other tools, the upright image's size means upright boxes; otherwise the schema applies."""
    (file,) = write_tfrecord(load_coco(*coco), tmp_path / "records")
    earlier(tmp_path / "old.tfrecord", file, told=False)
    dataset = to_dataset(load_tfrecord(tmp_path / "old.tfrecord", problems=(problems := Problems(keep_going=True))))
    assert [problem.place.entry for problem in problems.found] == [f"record {number}" for number in range(4, 8)]
    for example in [dataset.examples[0], *dataset.examples[4:]]:
        np.testing.assert_allclose(example.boxes, [box_in(read_image(example.path))], atol=1e-4)
    for orientation in (2, 3, 4):
        example = dataset.examples[orientation - 1]
        upright = np.array([box_in(read_image(example.path))])
        np.testing.assert_allclose(example.boxes, upright_boxes(upright, *SIZE, orientation), atol=1e-4)


def test_features_that_another_tool_changed_count_as_stored(tmp_path: Path, coco) -> None:
    (file,) = write_tfrecord(load_coco(*coco), tmp_path / "records")
    records = [tf.train.Example.FromString(record) for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator()]
    with tf.io.TFRecordWriter(str(file)) as writer:
        for record in records:
            record.features.feature["image/object/bbox/ymin"].float_list.value[:] = [0.0]
            writer.write(record.SerializeToString())
    for orientation, example in zip(ORIENTATIONS, read_tfrecord(tmp_path / "records"), strict=True):
        changed = np.array([[0, *BOX[1:]]])
        np.testing.assert_allclose(example.boxes, upright_boxes(changed, *SIZE, orientation), atol=1e-4)


def test_a_damaged_turn_counts_as_none(tmp_path: Path) -> None:
    for format in ("JPEG", "PNG"):
        content = encoded(6, format=format)
        damaged = content.replace(b"MM\x00\x2a", b"XX\x00\x2a").replace(b"II\x2a\x00", b"XX\x2a\x00")
        assert damaged != content
        (path := tmp_path / "a").write_bytes(damaged)
        if format == "JPEG":  # a PNG's checksum refuses it
            assert read_stored(path) == (*SIZE, 1)
            assert box_in(read_image(path)) == [*BOX]
