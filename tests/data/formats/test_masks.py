"""Test that masks survive the ways between formats: COCO, TFRecord and YOLO, upright and rotated."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from spinenet_tf.data.dataset import DataError, DetectionDataset
from spinenet_tf.data.formats.coco import load_coco, read_coco, write_coco
from spinenet_tf.data.formats.tfrecord import COCO, MASK, load_tfrecord, read_tfrecord
from spinenet_tf.data.formats.tfrecord_writer import write_tfrecord
from spinenet_tf.data.formats.yolo import load_yolo, read_yolo
from spinenet_tf.data.formats.yolo_writer import write_yolo
from spinenet_tf.data.masks import RunLengthMask
from spinenet_tf.data.orientation import TURNS
from spinenet_tf.data.problems import Problems

HEIGHT, WIDTH = 40, 56  # of the upright image
POLYGONS = [[10, 20, 30, 20.5, 30, 35], [12.5, 22, 40, 22, 40, 34]]


def write_source(folder: Path, orientation: int = 1, **changes: object) -> tuple[Path, Path]:
    """Write a COCO set of one image with a polygon, run lengths and a crowd without a mask."""
    (folder / "images").mkdir(parents=True)
    pixels = np.zeros((HEIGHT, WIDTH), bool)
    pixels[3:30, 5:9] = pixels[5:9, 5:40] = True
    runs = RunLengthMask.of(pixels).rle()
    stored = (HEIGHT, WIDTH) if TURNS[orientation].swap else (WIDTH, HEIGHT)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", stored, "red").save(folder / "images" / "a.jpg", exif=exif)
    rows = [
        {"bbox": [10, 20, 30, 15], "segmentation": POLYGONS},
        {"bbox": [5, 3, 35, 27], "segmentation": runs} | changes,
        {"bbox": [0, 0, 9, 9], "iscrowd": 1},
    ]
    content = {
        "images": [{"id": 7, "file_name": "a.jpg", "height": HEIGHT, "width": WIDTH}],
        "categories": [{"id": 1, "name": "thing"}],
        "annotations": [{"id": i, "image_id": 7, "category_id": 1, **row} for i, row in enumerate(rows, start=1)],
    }
    (folder / "train.json").write_text(json.dumps(content))
    return folder / "train.json", folder / "images"


@pytest.fixture
def source(tmp_path: Path) -> tuple[Path, Path]:
    return write_source(tmp_path / "source")


def assert_same_masks(a: DetectionDataset, b: DetectionDataset, count: int = 2) -> None:
    for ours, theirs in zip(a, b, strict=True):
        assert len(ours.masks) >= count
        for mask, other in zip(ours.masks[:count], theirs.masks[:count], strict=True):
            np.testing.assert_array_equal(mask.decode(), other.decode())


def rewrite(shards: list[Path], **features: list[bytes] | None) -> None:
    """Replace or remove features of every record; the names have "_" in place of "/"."""
    for path in shards:
        records = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
        with tf.io.TFRecordWriter(str(path)) as writer:
            for record in map(tf.train.Example.FromString, records):
                for name, values in features.items():
                    key = name.replace("_", "/")
                    record.features.feature.pop(key, None)
                    if values is not None:
                        record.features.feature[key].bytes_list.value[:] = values
                writer.write(record.SerializeToString())


def features_of(shards: list[Path]) -> dict:
    (record,) = tf.data.TFRecordDataset([str(path) for path in shards]).as_numpy_iterator()
    return tf.train.Example.FromString(record).features.feature


def png(pixels: np.ndarray) -> bytes:
    Image.fromarray(pixels).save(encoded := io.BytesIO(), "PNG")
    return encoded.getvalue()


@pytest.mark.parametrize("orientation", TURNS)
def test_masks_of_tfrecords_are_in_stored_pixels_and_read_upright(tmp_path: Path, orientation: int) -> None:
    """With and without the COCO entries, whose segmentations are upright."""
    coco = write_source(tmp_path / "source", orientation)
    shards = write_tfrecord(load_coco(*coco), tmp_path / "records", masks=True)
    features = features_of(shards)
    stored = [features[f"image/{side}"].int64_list.value[0] for side in ("height", "width")]
    # As TF Model Garden's decoder reads them.
    masks = [tf.io.decode_png(each, channels=1)[..., 0].numpy() for each in features[MASK].bytes_list.value]
    assert [mask.shape for mask in masks] == [tuple(stored)] * 3
    assert [sorted(np.unique(mask)) for mask in masks] == [[0, 1], [0, 1], [0]]
    rows, columns = np.nonzero(masks[1])
    sides = [features[f"image/object/bbox/{side}"].float_list.value[1] for side in ("ymin", "xmin", "ymax", "xmax")]
    found = (rows.min() / stored[0], columns.min() / stored[1], (rows.max() + 1) / stored[0])
    np.testing.assert_allclose([*found, (columns.max() + 1) / stored[1]], sides, rtol=1e-6)
    assert_same_masks(read_tfrecord(tmp_path / "records"), read_coco(*coco))
    rewrite(shards, image_coco=None)
    assert_same_masks(read_tfrecord(tmp_path / "records"), read_coco(*coco))


def test_masks_of_tfrecords_become_run_lengths_of_coco(tmp_path: Path, source: tuple[Path, Path]) -> None:
    rewrite(write_tfrecord(load_coco(*source), tmp_path / "records", masks=True), image_coco=None)
    back = write_coco(load_tfrecord(tmp_path / "records"), tmp_path / "back")
    assert_same_masks(read_coco(back, back.parent / "images"), read_coco(*source))


def test_records_keep_the_segmentation_of_coco_with_and_without_masks(tmp_path: Path, source) -> None:
    for masks in (False, True):
        shards = write_tfrecord(load_coco(*source), tmp_path / f"records-{masks}", masks=masks)
        assert (MASK in features_of(shards)) == masks
        back = write_coco(load_tfrecord(tmp_path / f"records-{masks}"), tmp_path / f"back-{masks}")
        content = json.loads(back.read_text())
        assert content["annotations"] == json.loads(source[0].read_text())["annotations"]


def test_masks_that_another_tool_changed_are_read(tmp_path: Path, source: tuple[Path, Path]) -> None:
    shards = write_tfrecord(load_coco(*source), tmp_path / "records", masks=True)
    pixels = np.zeros((HEIGHT, WIDTH), np.uint8)
    pixels[3:9, 4:7] = 255
    rewrite(shards, image_object_mask=[png(pixels)] * 3)
    assert COCO in features_of(shards)
    for mask in read_tfrecord(tmp_path / "records")[0].masks:
        np.testing.assert_array_equal(mask.decode(), pixels > 0)
    rewrite(shards, image_object_mask=None)
    assert_same_masks(read_tfrecord(tmp_path / "records"), read_coco(*source))


def test_bad_masks_of_records_are_left_out_or_name_the_record(tmp_path: Path, source: tuple[Path, Path]) -> None:
    shards = write_tfrecord(load_coco(*source), tmp_path / "records", masks=True)
    right, problems = png(np.ones((HEIGHT, WIDTH), np.uint8)), Problems(keep_going=True)
    rewrite(shards, image_object_mask=[png(np.ones((WIDTH, HEIGHT), np.uint8)), right, b""])
    example = read_tfrecord(tmp_path / "records")[0]
    assert [mask and mask.area for mask in example.masks] == [None, HEIGHT * WIDTH, None]
    load_tfrecord(tmp_path / "records", problems=problems)
    assert "record 0, object 0: its mask is left out: it must be PNG of 40 x 56 pixels" in str(problems.found[0])
    rewrite(shards, image_object_mask=[right[:60], right, b""])
    with pytest.raises(DataError, match="record 0: the image cannot be decoded"):
        read_tfrecord(tmp_path / "records")[0].masks[0].decode()
    rewrite(shards, image_object_mask=[right])
    with pytest.raises(DataError, match="its features differ in length"):
        read_tfrecord(tmp_path / "records")


@pytest.mark.parametrize("segmentation", [None, [[1, 2, 3]]])
def test_records_with_masks_need_one_per_object(tmp_path: Path, segmentation: object) -> None:
    source = write_source(tmp_path / "source", segmentation=segmentation)
    with pytest.raises(DataError, match=r"train\.json: annotation 2: "):
        write_tfrecord(load_coco(*source), tmp_path / "records", masks=True)
    assert not (tmp_path / "records").exists()


def test_yolo_keeps_masks_and_boxes(tmp_path: Path, source, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        description = write_yolo(load_coco(*source), tmp_path / "yolo")
    assert [record.getMessage().split(": ")[1] for record in caplog.records] == [
        "1 crowds are left out, since YOLO has none"
    ]
    read, expected = read_yolo(description), read_coco(*source)
    assert (read.class_names, len(read[0].boxes)) == (("thing",), 2)
    assert_same_masks(read, expected)
    np.testing.assert_allclose(read[0].boxes, expected[0].boxes[:2], atol=1)
    back = write_coco(load_yolo(description), tmp_path / "back")
    assert_same_masks(read_coco(back, back.parent / "images"), expected)


def test_digits_survive_the_way_through_yolo(tmp_path: Path, digits: DetectionDataset, digits_folder: Path) -> None:
    load = load_coco(digits_folder / "annotations.json", digits_folder / "images")
    read = read_yolo(write_yolo(load, tmp_path / "yolo"))
    for ours, theirs in zip(read, digits, strict=True):
        np.testing.assert_allclose(ours.boxes, theirs.boxes, atol=1e-3)
        assert_same_masks([ours], [theirs], len(theirs.boxes))


def test_yolo_has_boxes_where_there_are_no_masks(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source", segmentation=[[1, 1, 2, 1, 2, 2.0]])
    content = json.loads(source[0].read_text())
    del content["annotations"][0]["segmentation"]
    source[0].write_text(json.dumps(content))
    description = write_yolo(load_coco(*source), tmp_path / "yolo")
    lines = (tmp_path / "yolo" / "labels" / "a.txt").read_text().splitlines()
    assert [len(line.split()) for line in lines] == [5, 9], "a triangle is not mistaken for a box with two numbers"
    box, triangle = read_yolo(description)[0].masks
    assert (box, triangle.polygons[0].tolist()) == (None, pytest.approx([1, 1, 2, 1, 2, 2, 2, 2]))


def test_two_images_with_the_same_labels_are_refused(tmp_path: Path, source: tuple[Path, Path]) -> None:
    content = json.loads(source[0].read_text())
    content["images"].append(content["images"][0] | {"id": 8, "file_name": "a.png"})
    source[0].write_text(json.dumps(content))
    Image.new("RGB", (WIDTH, HEIGHT)).save(source[1] / "a.png")
    with pytest.raises(DataError, match=r"train\.json: image 8: another image has the same file name"):
        write_yolo(load_coco(*source), tmp_path / "yolo")
    assert not (tmp_path / "yolo").exists()
