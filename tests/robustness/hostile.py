"""Provide small data sets, and functions that damage them."""

from __future__ import annotations

import copy
import math
import random
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

from spinenet_tf.data.dataset import DetectionDataset

SECONDS = 10.0  # of CPU time, for one file: they take milliseconds
FORMAT = "{}: any annotations load, or raise one DataError with file and position"

NUMBERS = (0, -1, 1.5, -0.0, 2**31, 2**63, -(2**63) - 1, 10**30, 10**400, 1e308, -1e308, 1e-320, math.nan, math.inf)
TEXTS = (
    "",
    " ",
    "a",
    "\ud800",
    "a\0b",
    "a\nb",
    "../0.png",
    "/etc/passwd",
    "C:\\0.png",
    "..\\0.png",
    "x" * 5000,
    "%s{}",
)
OTHERS = (None, True, [], {}, [1, 2], [[]], {"id": 1}, [0, 0, 1, math.nan], [10**400] * 4, [1e308] * 4, [10**308] * 4)
HOSTILE = (*NUMBERS, *TEXTS, *OTHERS)


COCO = {
    "info": {"year": 2017},
    "images": [{"id": i + 5, "file_name": f"{i}.png", "height": 9, "width": 12} for i in range(2)],
    "annotations": [
        {"id": 3, "image_id": 5, "category_id": 1, "bbox": [1, 2, 3.5, 4], "area": 14.0, "iscrowd": 0},
        {"id": 4, "image_id": 6, "category_id": 9, "bbox": [-1, 2, 30, 4.5], "iscrowd": 1},
    ],
    "categories": [{"id": 9, "name": "dog"}, {"id": 1, "name": "cat"}],
}


VOC = ["annotation", [
    ["filename", "0.png"],
    ["size", [["width", "12"], ["height", "9"]]],
    ["object", [["name", "cat"], ["difficult", "0"],
                ["bndbox", [["xmin", "1"], ["ymin", "2"], ["xmax", "6"], ["ymax", "9"]]]]],
    ["object", [["name", "dog"], ["bndbox", [["xmin", "2"], ["ymin", "2"], ["xmax", "3"], ["ymax", "4.5"]]]]],
]]  # fmt: skip


def xml(node: list) -> str:
    name, content = node
    inner = "".join(map(xml, content)) if isinstance(content, list) else escape(content)
    return f"<{name}>{inner}</{name}>"


def write_images(folder: Path) -> Path:
    """Write the two images of `COCO`; return their folder."""
    folder.mkdir(parents=True)
    for name in ("0.png", "1.png"):
        Image.new("RGB", (12, 9)).save(folder / name)
    return folder


def changed(tree: Any, rng: random.Random) -> list[Any]:
    """Change one place in a tree of lists and dictionaries; return the path to it."""
    way: list[Any] = []
    while True:
        keys = list(tree) if isinstance(tree, dict) else range(len(tree))
        key = rng.choice(list(keys))
        way.append(key)
        if isinstance(tree[key], list | dict) and tree[key] and rng.random() < 0.8:
            tree = tree[key]
            continue
        kind = rng.random()
        if kind < 0.7:
            tree[key] = copy.deepcopy(rng.choice(HOSTILE))
        elif kind < 0.8:
            del tree[key]
        elif isinstance(tree, list):
            tree.insert(key, copy.deepcopy(tree[key]))
        else:
            tree[rng.choice(["id", "bbox", "x", "file_name"])] = tree.pop(key)
        return way


def torn(data: bytes, rng: random.Random) -> bytes:
    """Remove or change some bytes."""
    if rng.random() < 0.5:
        return data[: rng.randrange(len(data))]
    damaged = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        damaged[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(damaged)


def framed(*contents: bytes, lengths: tuple[int, ...] = ()) -> bytes:
    """Return a TFRecord file with `lengths` in place of the true ones, under valid checksums."""
    file = b""
    for content, length in zip(contents, lengths or map(len, contents), strict=True):
        header = length.to_bytes(8, "little")
        checks = [masked_crc32c(part).to_bytes(4, "little") for part in (header, content)]
        file += header + checks[0] + content + checks[1]
    return file


def hold_sound(dataset: DetectionDataset, root: Path) -> None:
    """Check that all values in a data set are in range."""
    for example in dataset:
        assert -(2**63) <= example.image_id < 2**63
        assert np.isfinite(example.boxes).all()
        assert np.isfinite(example.area).all()
        top, left, bottom, right = example.boxes.T
        assert ((top >= 0) & (left >= 0) & (bottom > top) & (right > left)).all()
        assert ((bottom <= example.height) & (right <= example.width)).all()
        assert ((example.classes >= 0) & (example.classes < len(dataset.class_names))).all()
        if isinstance(example.path, Path):
            assert example.path.resolve().is_relative_to(root.resolve())
