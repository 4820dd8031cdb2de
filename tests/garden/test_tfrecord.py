"""TF Model Garden reads our TFRecord files, and we read its files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import tensorflow as tf
from official.vision.data.create_coco_tf_record import create_tf_example
from official.vision.dataloaders.tf_example_decoder import TfExampleDecoder

from spinenet_tf.data.formats.coco import load_coco
from spinenet_tf.data.formats.digits import digits, write_digits
from spinenet_tf.data.formats.tfrecord import read_tfrecord
from spinenet_tf.data.formats.tfrecord_writer import write_tfrecord
from spinenet_tf.data.images import read_image
from spinenet_tf.data.masks import RunLengthMask
from spinenet_tf.data.outlines import outline


def test_model_garden_decodes_what_is_written(tmp_path: Path) -> None:
    images, annotations = write_digits(tmp_path, scenes=6)
    files = write_tfrecord(load_coco(annotations, images), tmp_path / "train", shards=2, masks=True)
    decode = TfExampleDecoder(include_mask=True).decode
    dataset = digits(tmp_path, scenes=6)
    for record, example in zip(tf.data.TFRecordDataset(list(map(str, files))), dataset, strict=True):
        found = {key: value.numpy() for key, value in decode(record).items()}
        extent = [example.height, example.width] * 2
        assert int(found["source_id"]) == example.image_id
        assert (found["height"], found["width"]) == (example.height, example.width)
        np.testing.assert_allclose(found["groundtruth_boxes"] * extent, example.boxes, atol=1e-4)
        np.testing.assert_array_equal(found["groundtruth_classes"], np.array(dataset.category_ids)[example.classes])
        np.testing.assert_array_equal(found["groundtruth_is_crowd"], example.crowd)
        np.testing.assert_allclose(found["groundtruth_area"], example.area)
        for mask, expected in zip(found["groundtruth_instance_masks"], example.masks, strict=True):
            np.testing.assert_array_equal(mask, expected.decode())
        # The JPEG decoders of TensorFlow and Pillow round differently.
        assert np.abs(found["image"].astype(int) - read_image(example.path)).mean() < 2


def test_what_model_garden_writes_is_read(tmp_path: Path) -> None:
    images, annotations = write_digits(tmp_path, scenes=6)
    coco = json.loads(annotations.read_text())
    names = {entry["id"]: entry["name"] for entry in coco["categories"]}
    for entry in coco["annotations"]:  # Model Garden knows no compressed run lengths
        mask = RunLengthMask(*entry["segmentation"]["size"], entry["segmentation"]["counts"].encode())
        entry["segmentation"] = [outline(mask).tolist()]
    with tf.io.TFRecordWriter(str(tmp_path / "train-00000-of-00001.tfrecord")) as writer:
        for image in coco["images"]:
            objects = [entry for entry in coco["annotations"] if entry["image_id"] == image["id"]]
            record, _ = create_tf_example(
                image, [str(images)], bbox_annotations=objects, id_to_name_map=names, include_masks=True
            )
            writer.write(record.SerializeToString())
    ours, theirs = read_tfrecord(tmp_path / "train", categories=annotations), digits(tmp_path, scenes=6)
    assert (ours.class_names, ours.category_ids) == (theirs.class_names, theirs.category_ids)
    for a, b in zip(ours, theirs, strict=True):
        assert (a.image_id, a.height, a.width) == (b.image_id, b.height, b.width)
        assert a.path.read_bytes() == b.path.read_bytes()
        np.testing.assert_allclose(a.boxes, b.boxes, atol=1e-4)
        for field in ("classes", "crowd", "area"):
            np.testing.assert_array_equal(getattr(a, field), getattr(b, field))
        for mask, expected in zip(a.masks, b.masks, strict=True):
            np.testing.assert_array_equal(mask.decode(), expected.decode())
