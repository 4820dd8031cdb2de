"""Test that damaged or malicious TFRecord files give errors with file, record and offset, and never hang."""

from __future__ import annotations

import json
import math
import random
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import tensorflow as tf
from hostile import COCO, FORMAT, SECONDS, changed, framed, hold_sound, torn, write_images

from spinenet_tf.data.dataset import DataError
from spinenet_tf.data.formats.annotations import to_dataset
from spinenet_tf.data.formats.coco import load_coco
from spinenet_tf.data.formats.tfrecord import load_tfrecord, read_tfrecord
from spinenet_tf.data.formats.tfrecord_writer import write_tfrecord
from spinenet_tf.data.problems import Problems


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_images(tmp_path / "data" / "images")


def changed_record(record: tf.train.Example, rng: random.Random) -> None:
    """Change, remove or extend one feature."""
    features = record.features.feature
    key = rng.choice(sorted(features))
    told = features[key]
    if key == "image/coco" and rng.random() < 0.6:
        content = json.loads(told.bytes_list.value[0])
        changed(content, rng)
        told.bytes_list.value[:] = [json.dumps(content).encode()]
        return
    kind = rng.choice(("drop", "ints", "floats", "bytes", "more"))
    if kind == "drop":
        del features[key]
    elif kind == "more" and told.WhichOneof("kind"):
        values = getattr(told, told.WhichOneof("kind")).value
        values.extend(list(values) * rng.randint(1, 3))
    elif kind == "ints":
        told.int64_list.value[:] = [rng.choice((0, -1, 7, 2**31, 2**63 - 1, -(2**63)))] * rng.randrange(3)
    elif kind == "floats":
        told.float_list.value[:] = [rng.choice((0, -1, 0.5, 2, 3e38, math.nan, math.inf))] * rng.randrange(3)
    else:
        told.bytes_list.value[:] = [rng.choice((b"", b"7", b"\xff", b"../x", b"[" * 9999, b"1" * 400))] * rng.randrange(
            3
        )


@pytest.fixture
def records(images: Path) -> tuple[Path, list[bytes]]:
    """Return a TFRecord file, and its records."""
    source = images.parent / "source.json"
    source.write_text(json.dumps(COCO))
    (file,) = write_tfrecord(load_coco(source, images), images.parent / "records")
    return file, list(tf.data.TFRecordDataset(str(file)).as_numpy_iterator())


def test_tfrecord(images: Path, records: tuple[Path, list[bytes]], promise) -> None:
    """TensorFlow opens files slowly, so each file has many cases; a check continues after a bad record."""
    file, good = records
    refused = 0
    for seed in range(20):
        rng = random.Random(seed)
        contents = []
        for number in range(40):
            record = tf.train.Example.FromString(rng.choice(good))
            record.features.feature["image/source_id"].bytes_list.value[:] = [str(number).encode()]
            if rng.random() < 0.5:
                del record.features.feature["image/coco"]
            changed_record(record, rng)
            content = record.SerializeToString()
            contents.append(torn(content, rng) if rng.random() < 0.1 else content)
        file.write_bytes(framed(*contents))
        problems, start = Problems(keep_going=True), time.process_time()
        hold_sound(to_dataset(load_tfrecord(file, problems=problems), problems), images)
        assert time.process_time() - start < SECONDS
        assert all(problem.place.file == file for problem in problems.found)
        assert all(re.match(r"record \d+", problem.place.entry) for problem in problems.found)
        refused += sum(problem.refused for problem in problems.found)
        with pytest.raises(DataError, match=rf"{file}: record \d+"):
            read_tfrecord(file)
    assert refused > 20 * 40 / 3
    promise(FORMAT.format("TFRecord"), cases=20 * 40)


def test_every_damaged_byte_of_a_tfrecord_is_noticed_with_its_place(records: tuple[Path, list[bytes]], promise) -> None:
    file, contents = records
    whole, second = file.read_bytes(), len(framed(contents[0]))
    rng = random.Random(0)
    edges = [*range(12), *range(second - 4, second + 12), *range(len(whole) - 4, len(whole))]
    places = [*edges, *rng.sample(range(len(whole)), 30)]
    for place in places:
        data = bytearray(whole)
        data[place] ^= 1 << rng.randrange(8)
        file.write_bytes(data)
        number, offset = (0, 0) if place < second else (1, second)
        with pytest.raises(DataError, match=rf"{file}: record {number}: .* at byte {offset}$"):
            read_tfrecord(file)
    text = "TFRecord: the checksum detects a changed byte, and the error names file, record and offset"
    promise(text, cases=len(places))


def cut_or_lying(contents: list[bytes]) -> Iterator[tuple[bytes, int, int]]:
    """Yield truncated files and files with a wrong record length, with the record number and its offset."""
    whole, second = framed(*contents), len(framed(contents[0]))
    for end in (1, 11, 12, 40, second - 1, second + 1, second + 11, second + 12, len(whole) - 1):
        yield whole[:end], int(end > second), 0 if end < second else second
    for length in (len(contents[1]) + 1, 2**31, 2**40, 2**63, 2**64 - 1):
        yield framed(*contents, lengths=(len(contents[0]), length)), 1, second
    yield whole + bytes(10**6), 2, len(whole)
    yield bytes(10**6), 0, 0


def test_a_tfrecord_that_ends_early_or_lies_of_lengths_does_not_stall(records, promise) -> None:
    file, contents = records
    cases = list(cut_or_lying(contents))
    for data, number, offset in cases:
        file.write_bytes(data)
        start = time.process_time()
        with pytest.raises(DataError, match=rf"{file}: record {number}: .* at byte {offset}$"):
            read_tfrecord(file)
        assert time.process_time() - start < SECONDS
    promise("TFRecord: a truncated file or wrong lengths neither hang nor use memory", cases=len(cases))
