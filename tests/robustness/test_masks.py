"""Test that damaged or malicious masks in any format are left out, read, or refused with our own error."""

from __future__ import annotations

import copy
import io
import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hostile import COCO, HOSTILE, NUMBERS, SECONDS, changed, framed, hold_sound, torn, write_images
from PIL import Image

from spinenet_tf.data.dataset import DataError, DetectionDataset
from spinenet_tf.data.formats.annotations import Annotations, to_dataset
from spinenet_tf.data.formats.coco import load_coco
from spinenet_tf.data.formats.shards import records
from spinenet_tf.data.formats.tfrecord import COCO as COCO_KEY
from spinenet_tf.data.formats.tfrecord import MASK, load_tfrecord
from spinenet_tf.data.formats.tfrecord_writer import write_tfrecord
from spinenet_tf.data.formats.yolo import load_yolo
from spinenet_tf.data.mask_faults import mask_faults
from spinenet_tf.data.masks import RunLengthMask
from spinenet_tf.data.problems import Problems

PROMISE = "Masks of {} used, left out, or refused with one DataError"
HEIGHT, WIDTH = 9, 12  # of the images of `COCO`
PIXELS = np.zeros((HEIGHT, WIDTH), bool)
PIXELS[2:6, 1:8] = PIXELS[4, 3] = True
SEGMENTATIONS = (
    [[1, 2, 4.5, 2, 4.5, 6, 1, 6]],
    [[1, 2, 4.5, 2, 4.5, 6], [-1, 3, 8, 3, 8, 30]],
    [1, 2, 4.5, 2, 4.5, 6],
    RunLengthMask.of(PIXELS).rle(),
    {"counts": RunLengthMask.of(PIXELS).runs().tolist(), "size": [HEIGHT, WIDTH]},
)
COUNTS = ("", "0", "o", "~" * 40, "`" * 6 + "0", "P" * 5000, "\x7f", "é", "108", [108], [-1, 109], [2**32, 108 - 2**32])
COUNTS += ([54] * 2**15, [0] * 10**5 + [108], [2**63], [1.0] * 108, [True] * 108)
POINTS = ([1e5] * 6, [0, 0, 23, 17] * 20_000, [-1e308, 0, 1e308, 0, 3, 3], [0.1] * 7, list(range(-9, 9)), [[1, 2]] * 4)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_images(tmp_path / "data" / "images")


def hold_masks(dataset: DetectionDataset, root: Path) -> int:
    """Check that every mask can be used, or raises DataError; return the number of those that can."""
    hold_sound(dataset, root)
    sound = 0
    for example in dataset:
        mask_faults(example)
        for box, mask in zip(example.boxes, example.masks or (), strict=example.masks is not None):
            if mask is None:
                continue
            try:
                pixels, crop = mask.decode(), mask.crop(box, 7)
            except DataError:
                continue
            assert pixels.shape == (example.height, example.width)
            assert mask.area == pixels.sum()
            assert ((crop >= 0) & (crop <= 1)).all()
            sound += 1
    return sound


def try_all(load: Callable[[Problems], Annotations], cases: Iterator[None], root: Path) -> tuple[int, int]:
    """Read all cases, also as a check does; return the number of cases and of masks that can be used."""
    count = sound = 0
    for count, _ in enumerate(cases, start=1):  # noqa: B007
        start = time.process_time()
        for problems in (Problems(), Problems(keep_going=True)):
            with suppress(DataError):
                sound += hold_masks(to_dataset(load(problems), problems), root)
        assert time.process_time() - start < SECONDS
    return count, sound


def moved(segmentation: list | dict, rng: random.Random) -> None:
    """Change a coordinate or a run to another plausible number."""
    numbers = segmentation["counts"] if isinstance(segmentation, dict) else rng.choice((segmentation, *segmentation))
    if isinstance(numbers, list) and not isinstance(numbers[0], list):
        numbers[rng.randrange(len(numbers))] = rng.choice((rng.randint(-12, 24), rng.uniform(-12, 24)))


def coco_cases(file: Path, count: int) -> Iterator[None]:
    for seed in range(count):
        rng, content = random.Random(seed), copy.deepcopy(COCO)
        entry = content["annotations"][rng.randrange(2)]
        entry["segmentation"] = segmentation = copy.deepcopy(rng.choice(SEGMENTATIONS))
        kind = rng.random()
        if kind < 0.15:
            entry["segmentation"] = copy.deepcopy(rng.choice((*HOSTILE, *POINTS, [rng.choice(POINTS)])))
        elif kind < 0.3:
            entry["segmentation"] = {"counts": rng.choice(COUNTS), "size": [HEIGHT, WIDTH]}
        else:
            damage = rng.choice((moved, changed))
            for _ in range(rng.choice((0, 1, 1, 2, 4))):
                if segmentation:
                    damage(segmentation, rng)
        entry |= {"_mask": rng.choice(HOSTILE)} if rng.random() < 0.1 else {}
        file.write_text(json.dumps(content))
        yield


def test_coco_and_yolo(images: Path, promise) -> None:
    file = images.parent / "annotations.json"
    count, sound = try_all(lambda problems: load_coco(file, images, problems), coco_cases(file, 1400), images)
    assert sound > count / 3
    rows, sound = try_all(lambda problems: load_yolo(images.parent, problems=problems), yolo_cases(images, 400), images)
    assert sound > rows / 2
    promise(PROMISE.format("COCO and YOLO: any segmentation is"), cases=count + rows)


def yolo_cases(images: Path, count: int) -> Iterator[None]:
    (images.parent / "labels").mkdir()
    for seed in range(count):
        rng = random.Random(seed)
        words = [rng.choice("01"), *(f"{rng.uniform(-0.2, 1.3):.3g}" for _ in range(rng.choice((6, 8, 9, 10, 40))))]
        if rng.random() < 0.4:
            words[rng.randrange(len(words))] = str(rng.choice((*NUMBERS[:-2], "1.99", "-1.99", "1e-320", "nan", "x")))
        (images.parent / "labels" / "0.txt").write_text(" ".join(words) + "\n0 0.1 0.1 0.4 0.1 0.4 0.4 0.1 0.3\n")
        yield


def masks_of_records(rng: random.Random, png: bytes) -> list[bytes]:
    """Return the masks of a record with one object, or of another number."""
    shapes = ((WIDTH, HEIGHT), (1, 1), (HEIGHT, WIDTH, 3), (HEIGHT, WIDTH, 4))
    other = np.full(rng.choice(shapes), 200, np.uint8)
    Image.fromarray(other).save(encoded := io.BytesIO(), rng.choice(("PNG", "BMP", "GIF")))
    claimed = png[:16] + rng.randbytes(8) + png[24:]
    return rng.choice(([torn(png, rng)], [torn(png, rng)], [png], [encoded.getvalue()], [claimed], [b""], [png] * 2))


def test_tfrecord(images: Path, promise) -> None:
    source = images.parent / "source.json"
    content = copy.deepcopy(COCO) | {"images": COCO["images"][:1], "annotations": COCO["annotations"][:1]}
    content["annotations"][0]["segmentation"] = SEGMENTATIONS[0]
    source.write_text(json.dumps(content))
    (file,) = write_tfrecord(load_coco(source, images), images.parent / "records", masks=True)
    (record,) = (tf.train.Example.FromString(each.content) for each in records(file, Problems()))
    png = record.features.feature[MASK].bytes_list.value[0]

    def cases() -> Iterator[None]:
        for seed in range(200):
            rng, damaged = random.Random(seed), tf.train.Example.FromString(record.SerializeToString())
            if rng.random() < 0.5:
                del damaged.features.feature[COCO_KEY]
            damaged.features.feature[MASK].bytes_list.value[:] = masks_of_records(rng, png)
            file.write_bytes(framed(damaged.SerializeToString()))
            yield

    count, sound = try_all(lambda problems: load_tfrecord(file, problems=problems), cases(), images)
    assert sound > count / 4
    promise(PROMISE.format("TFRecord: any bytes are"), cases=count)
