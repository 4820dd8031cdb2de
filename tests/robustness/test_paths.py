"""Test that no file name and no link leads out of the image folder."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path

import pytest
import tensorflow as tf
from hostile import COCO, VOC, framed, write_images, xml
from PIL import Image

from spinenet_tf.data import files
from spinenet_tf.data.dataset import DataError
from spinenet_tf.data.formats.coco import load_coco, read_coco, write_coco
from spinenet_tf.data.formats.image_folder import read_image_folder
from spinenet_tf.data.formats.label_map import LABEL_MAP
from spinenet_tf.data.formats.tfrecord import CATEGORIES, load_tfrecord
from spinenet_tf.data.formats.tfrecord_writer import write_tfrecord
from spinenet_tf.data.formats.voc import read_voc
from spinenet_tf.data.formats.yolo import read_yolo
from spinenet_tf.data.reading import load


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_images(tmp_path / "data" / "images")


# Ways out of the image folder, which lies at data/images; outside.png lies beside data.
ESCAPES = (
    "{outside}", "../../outside.png", "./../../outside.png", "a/../../../outside.png", "../images/../../outside.png",
    "..", "..\\..\\outside.png", "a\\..\\..\\..\\outside.png", "C:\\outside.png", "C:outside.png", "\\outside.png",
    "\\\\host\\outside.png", "//host/outside.png", "link.png", "far.png", "folder/outside.png", "circle.png",
    "circle.png/0.png",
)  # fmt: skip


@pytest.fixture
def outside(images: Path, tmp_path: Path) -> Path:
    """Return an image outside the folder, as the target of links."""
    Image.new("RGB", (12, 9)).save(outside := tmp_path / "outside.png")
    (images / "link.png").symlink_to(outside)
    (images / "far.png").symlink_to(images / "link.png")
    (images / "folder").symlink_to(tmp_path)
    (images / "circle.png").symlink_to(images / "circle.png")
    return outside


LEADS_OUT = "leads out of the image folder|not a valid path|no such file"


def test_coco_paths_stay_inside(images: Path, outside: Path, promise) -> None:
    file = images.parent / "annotations.json"
    for name in ESCAPES:
        content = copy.deepcopy(COCO)
        content["images"][0]["file_name"] = name.format(outside=outside)
        file.write_text(json.dumps(content))
        with pytest.raises(DataError, match=rf"json: image 5: .*({LEADS_OUT})"):
            read_coco(file, images)
    promise("Paths: no image outside the image folder is read, by COCO", cases=len(ESCAPES))


def test_voc_paths_stay_inside(images: Path, outside: Path, promise) -> None:
    file = images.parent / "Annotations" / "0.xml"
    file.parent.mkdir()
    for name in ESCAPES:
        tree = copy.deepcopy(VOC)
        tree[1][0][1] = name.format(outside=outside)
        file.write_text(xml(tree))
        with pytest.raises(DataError, match=rf"0\.xml: .*({LEADS_OUT})"):
            read_voc(images.parent)
    promise("Paths: no image outside the image folder is read, by Pascal VOC", cases=len(ESCAPES))


def test_a_voc_name_that_leads_out_stands_for_its_last_part_inside(
    images: Path, outside: Path, monkeypatch: pytest.MonkeyPatch, promise
) -> None:
    """XML files often have paths of another machine; no outside path is ever accessed."""
    file = images.parent / "Annotations" / "0.xml"
    file.parent.mkdir()
    looked_at = []
    whole = files.resolved
    monkeypatch.setattr(files, "resolved", lambda path: looked_at.append(path) or whole(path))
    names = ("C:\\photos\\1.png", "..\\1.png", "../1.png", "{outside}/../1.png", "//host/1.png", "C:1.png", "/1.png")
    for name in names:
        tree = copy.deepcopy(VOC)
        tree[1][0][1] = name.format(outside=outside)
        file.write_text(xml(tree))
        assert [example.path for example in read_voc(images.parent)] == [images.resolve() / "1.png"]
    assert set(looked_at) == {images.resolve() / "1.png"}
    promise(
        "Paths: Pascal VOC reads a name that leads out of the folder by its last part, inside the folder",
        cases=len(names),
    )


def test_tfrecord_names_stay_inside_what_is_written(images: Path, outside: Path, tmp_path: Path, promise) -> None:
    """Images are inside the records, so their names matter only when they are written as files."""
    source = images.parent / "source.json"
    source.write_text(json.dumps(COCO))
    (file,) = write_tfrecord(load_coco(source, images), images.parent / "records")
    record = tf.train.Example.FromString(next(tf.data.TFRecordDataset(str(file)).as_numpy_iterator()))
    before = outside.read_bytes()
    names = [name for name in ESCAPES if not name.startswith(("link", "folder", "circle", "far"))]
    for number, name in enumerate(names):
        record.features.feature["image/filename"].bytes_list.value[:] = [name.format(outside=outside).encode()]
        file.write_bytes(framed(record.SerializeToString()))
        target = tmp_path / "written" / str(number)
        with pytest.raises(DataError, match=rf"{file}: record 0, image 5: .*{LEADS_OUT}"):
            write_coco(load_tfrecord(file), target)
        assert not target.exists()
    assert outside.read_bytes() == before
    promise("Paths: no image is written outside the new folder, from TFRecord", cases=len(names))


def test_yolo_and_class_folders_follow_no_link_outside(images: Path, outside: Path, tmp_path: Path, promise) -> None:
    (tmp_path / "yolo" / "labels").mkdir(parents=True)
    (tmp_path / "yolo" / "labels" / "0.txt").write_text("0 0.5 0.5 0.5 0.5")
    cases = 0
    for read, folder in ((read_yolo, tmp_path / "yolo" / "images"), (read_image_folder, tmp_path / "classes" / "cat")):
        folder.mkdir(parents=True)
        (folder / "0.png").write_bytes((images / "0.png").read_bytes())
        (folder / "beside.png").symlink_to(folder / "0.png")
        assert len(read(folder.parent)) == 2, "a link inside is fine"
        link = folder / "out.png"
        for target in (outside, os.path.relpath(outside, folder), images / "link.png", images / "0.png", link):
            link.symlink_to(target)
            with pytest.raises(
                DataError, match=r"out\.png.*(the link leads out of the folder)|not a valid path.*out\.png"
            ):
                read(folder.parent)
            link.unlink()
            cases += 1
    promise("Paths: no image outside the image folder is read, by YOLO and class folders", cases=cases)


def test_lists_of_yolo_name_nothing_outside(images: Path, outside: Path, promise) -> None:
    """This applies to images, and to files named in obj.data."""
    root = images.parent
    (root / "data.yaml").write_text("train: list.txt\nnames: [cat]\n")
    secret = root.parent / "outside.txt"
    secret.write_text("a secret")
    (root / "linked.txt").symlink_to(secret)
    cases = 0
    for name in ESCAPES:
        for line in (name, f"images/{name}"):
            (root / "list.txt").write_text(line.format(outside=outside) + "\n")
            with pytest.raises(DataError, match=rf"list\.txt: line 1: .*({LEADS_OUT})"):
                read_yolo(root / "data.yaml")
            cases += 1
    (root / "list.txt").write_text("images/0.png\n")
    for name in ("../outside.txt", str(secret), "linked.txt", "data/../../outside.txt", "..\\outside.txt"):
        for text in (f"train = {name}\n", f"train = list.txt\nnames = {name}\n"):
            (root / "obj.data").write_text(text)
            with pytest.raises(DataError, match=rf"obj\.data: .*({LEADS_OUT})") as caught:
                read_yolo(root / "obj.data")
            assert "a secret" not in str(caught.value)
            cases += 1
    (root / "obj.data").unlink()
    (root / "data.yaml").unlink()
    (root / "labels").mkdir()
    for link in ("link.png", "far.png", "circle.png", "folder"):
        (images / link).unlink()
    for file in (root / "classes.txt", root / "labels" / "classes.txt", images / "0.txt"):
        file.symlink_to(secret)
        with pytest.raises(DataError, match="txt: the link leads out of the folder") as caught:
            read_yolo(root)
        assert "a secret" not in str(caught.value)
        file.unlink()
        cases += 1
    promise("Paths: lists, obj.data and links of a YOLO data set read nothing outside it", cases=cases)


def test_labels_and_classes_follow_no_link_outside(images: Path, outside: Path, tmp_path: Path, promise) -> None:
    (tmp_path / "secret.txt").write_text("a secret")
    (images.parent / "labels").mkdir()
    (images.parent / "labels" / "0.txt").symlink_to(tmp_path / "secret.txt")
    for link in ("link.png", "far.png", "circle.png", "folder"):
        (images / link).unlink()
    with pytest.raises(DataError, match=r"labels/0\.txt: the link leads out of the folder") as caught:
        read_yolo(images.parent)
    assert "a secret" not in str(caught.value)
    (tmp_path / "classes" / "cat").mkdir(parents=True)
    (tmp_path / "classes" / "cat" / "0.png").write_bytes((images / "0.png").read_bytes())
    (tmp_path / "classes" / "dog").symlink_to(images)
    with pytest.raises(DataError, match="dog: the link leads out of the folder"):
        read_image_folder(tmp_path / "classes")
    promise("Paths: no labels outside their folder are read, and no class folder outside the data set", cases=2)


def test_what_is_found_in_a_folder_is_no_link_outside(images: Path, tmp_path: Path, promise) -> None:
    """The user did not name these annotations and lists, so a link to an outside file is an attack."""
    root, secret = images.parent, tmp_path / "secret"
    secret.write_text(xml(VOC))
    (root / "Annotations").mkdir()
    (root / "Annotations" / "1.xml").write_text(xml(VOC))
    (root / "ImageSets" / "Main").mkdir(parents=True)
    source = tmp_path / "source.json"
    source.write_text(json.dumps(COCO))
    (shard,) = write_tfrecord(load_coco(source, images), root / "records" / "a")
    (shard.parent / CATEGORIES).unlink()
    cases = {
        root / "Annotations" / "0.xml": lambda: read_voc(root),
        root / "ImageSets" / "Main" / "train.txt": lambda: read_voc(root, "train"),
        shard.parent / CATEGORIES: lambda: load_tfrecord(shard),
        shard.parent / LABEL_MAP: lambda: load_tfrecord(shard.parent),
        shard.with_name("b-00000-of-00001"): lambda: load_tfrecord(shard.parent),
        root / "data.yaml": lambda: read_yolo(root),
        root / "obj.data": lambda: read_yolo(root),
        root / "annotations.json": lambda: load(str(root)),
    }
    for file, read in cases.items():
        file.symlink_to(secret)
        with pytest.raises(DataError, match=rf"^{file}: the link leads out of the folder [^:]*$"):
            read()
        file.unlink()
    promise(
        "Paths: annotations, lists and shards found in a folder are refused if they link out of it",
        cases=len(cases),
    )


def test_links_that_the_user_names_and_links_inside_are_followed(images: Path, tmp_path: Path) -> None:
    """Allowed are links to a file or folder that the user names, to a data set's folder, and within the data set."""
    root, elsewhere = images.parent, tmp_path / "elsewhere"
    for folder, name, text in (
        ("xml", "0.xml", xml(VOC)),
        ("labels", "0.txt", "0 0.5 0.5 0.5 0.5"),
        ("labels", "classes.txt", "cat"),
        ("coco", "a.json", json.dumps(COCO)),
    ):
        (elsewhere / folder).mkdir(parents=True, exist_ok=True)
        (elsewhere / folder / name).write_text(text)
    (root / "Annotations").symlink_to(elsewhere / "xml")
    (root / "lists").mkdir()
    (root / "lists" / "all.txt").write_text("0\n")
    (root / "ImageSets" / "Main").mkdir(parents=True)
    (root / "ImageSets" / "Main" / "train.txt").symlink_to("../../lists/all.txt")
    (tmp_path / "linked").symlink_to(root)
    assert len(read_voc(root)) == len(read_voc(root, "train")) == len(read_voc(tmp_path / "linked")) == 1
    (root / "labels").symlink_to(elsewhere / "labels")
    assert read_yolo(root).class_names == ("cat",)
    (root / "a.json").symlink_to(elsewhere / "coco" / "a.json")
    assert len(load_coco(root / "a.json", images).images) == len(COCO["images"])
    (shard,) = write_tfrecord(load_coco(root / "a.json", images), elsewhere / "records" / "a")
    (root / "a.tfrecord").symlink_to(shard)
    assert len(load_tfrecord(root / "a.tfrecord").images) == len(COCO["images"])
