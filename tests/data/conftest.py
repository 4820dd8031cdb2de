"""Provide the same scenes in several formats."""

from __future__ import annotations

import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest

from spinenet_tf import data
from spinenet_tf.data.dataset import DetectionDataset
from spinenet_tf.data.formats.digits import write_digits

SCENES = 12


@pytest.fixture(scope="session")
def digits_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a COCO folder with `annotations.json` and `images`; do not modify it."""
    images, _ = write_digits(tmp_path_factory.mktemp("formats"), SCENES)
    return images.parent


@pytest.fixture(scope="session")
def digits(digits_folder: Path) -> DetectionDataset:
    """Return the data set in `digits_folder`."""
    return data.digits(digits_folder.parent, scenes=SCENES)


@pytest.fixture
def yolo_folder(tmp_path: Path, digits: DetectionDataset) -> Path:
    """Return a folder with the digits in YOLO format, which tests may modify."""
    folder = tmp_path / "yolo"
    for kind in ("images", "labels"):
        (folder / kind / "train").mkdir(parents=True)
    for example in digits:
        shutil.copy(example.path, folder / "images" / "train")
        extent = [example.width, example.height] * 2
        lines = []
        for label, (top, left, bottom, right) in zip(example.classes, example.boxes.tolist(), strict=True):
            sides = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
            lines.append(" ".join([str(label), *(str(s / e) for s, e in zip(sides, extent, strict=True))]))
        text = "\n".join(lines) + "\n"
        (folder / "labels" / "train" / example.path.name).with_suffix(".txt").write_text(text)
    names = ", ".join(f"'{name}'" for name in digits.class_names)
    (folder / "data.yaml").write_text(f"path: .\ntrain: images/train\nval: images/train\nnames: [{names}]\n")
    return folder


@pytest.fixture
def voc_folder(tmp_path: Path, digits: DetectionDataset) -> Path:
    """Return a folder with the digits in Pascal VOC format, which tests may modify."""
    folder = tmp_path / "voc"
    for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / part).mkdir(parents=True)
    for example in digits:
        shutil.copy(example.path, folder / "JPEGImages")
        root = ElementTree.Element("annotation")
        ElementTree.SubElement(root, "filename").text = example.path.name
        size = ElementTree.SubElement(root, "size")
        for key, value in (("width", example.width), ("height", example.height), ("depth", 3)):
            ElementTree.SubElement(size, key).text = str(value)
        for label, (top, left, bottom, right) in zip(example.classes, example.boxes.tolist(), strict=True):
            found = ElementTree.SubElement(root, "object")
            ElementTree.SubElement(found, "name").text = digits.class_names[label]
            ElementTree.SubElement(found, "difficult").text = "0"
            box = ElementTree.SubElement(found, "bndbox")
            corners = {"xmin": left + 1, "ymin": top + 1, "xmax": right, "ymax": bottom}
            for key, value in corners.items():
                ElementTree.SubElement(box, key).text = f"{value:.0f}"
        ElementTree.ElementTree(root).write((folder / "Annotations" / example.path.name).with_suffix(".xml"))
    return folder
