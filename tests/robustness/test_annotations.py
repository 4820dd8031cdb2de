"""Test that damaged or malicious annotations in any format give a data set, or a DataError that names the file."""

from __future__ import annotations

import copy
import json
import random
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hostile import COCO, FORMAT, NUMBERS, SECONDS, TEXTS, VOC, changed, hold_sound, torn, write_images, xml

from spinenet_tf.data.dataset import DataError, DetectionDataset
from spinenet_tf.data.formats.annotations import to_dataset
from spinenet_tf.data.formats.coco import load_coco, read_coco
from spinenet_tf.data.formats.voc import load_voc, read_voc
from spinenet_tf.data.formats.yolo import load_yolo, read_yolo
from spinenet_tf.data.problems import Problems

LONGEST = 2000  # characters of a message


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_images(tmp_path / "data" / "images")


class Case:
    """One damaged data set: how to read it, which file is damaged, and what else the message must contain."""

    def __init__(self, read: Callable[[], Any], load: Callable[[Problems], Any], file: Path, position: str = ""):
        self.read, self.load, self.file, self.position = read, load, file, position

    def outcome(self) -> DetectionDataset | str:
        """Read a data set and check it, which must agree; return the data set or the message."""
        problems = Problems(keep_going=True)
        try:
            to_dataset(self.load(problems), problems)
            is_bad = any(problem.refused for problem in problems.found)
        except DataError:
            is_bad = True
        try:
            found: DetectionDataset | str = self.read()
        except DataError as error:
            found = str(error)
        assert is_bad == isinstance(found, str), f"a check sees something else than reading does: {found}"
        return found


def hold(case: Case, root: Path) -> bool:
    """Check the outcome of a case; return whether it was rejected."""
    start = time.process_time()
    found = case.outcome()
    assert time.process_time() - start < SECONDS
    if isinstance(found, str):
        assert str(case.file) in found
        assert "\n" not in found
        assert len(found) < LONGEST
        assert found.encode(), "it can be printed"
        assert re.search(case.position, found), f"no position in: {found}"
        return True
    hold_sound(found, root)
    return False


def try_all(cases: Iterator[Case], root: Path) -> tuple[int, int]:
    """Check all cases; return the number of all and of rejected cases."""
    count = refused = 0
    for count, case in enumerate(cases, start=1):  # noqa: B007
        refused += hold(case, root)
    return count, refused


def coco_cases(images: Path, count: int) -> Iterator[Case]:
    file = images.parent / "annotations.json"
    for seed in range(count):
        rng = random.Random(seed)
        content = copy.deepcopy(COCO)
        ways = [changed(content, rng) for _ in range(rng.choice((1, 1, 1, 2, 4)))]
        data = json.dumps(content).encode()
        whole = rng.random() < 0.9
        file.write_bytes(data if whole else torn(data, rng))
        # What is wrong in an entry is said with its kind and id.
        in_entry = whole and all(len(way) > 2 and way[0] != "info" for way in ways)
        position = r"json: (image|annotation|category) (at )?-?\d+: " if in_entry else ""
        yield Case(lambda: read_coco(file, images), lambda problems: load_coco(file, images), file, position)


def test_coco(images: Path, promise) -> None:
    count, refused = try_all(coco_cases(images, 3000), images)
    assert refused > count / 3
    promise(FORMAT.format("COCO"), cases=count)


def yolo_line(rng: random.Random) -> str:
    words = ["0", "0.5", "0.4", "0.3", "0.2"]
    for _ in range(rng.choice((1, 1, 2))):
        words[rng.randrange(5)] = str(rng.choice((*NUMBERS[:-6], *TEXTS, "1_0", "1e400", "nan", "-inf", "٣", "0x1")))
    if rng.random() < 0.2:
        words = words * rng.randint(2, 40)
    return rng.choice((" ", "\t", "\x0c")).join(words)


SNIPPETS = (
    "a: &a [x]\nnames: [*a, *a]",
    "names: [" * 2000,
    "names: {? [1]: 2}",
    "names: !!python/object/apply:os.system [ls]",
    "when: 2001-99-99",
    "x: !!int ''",
    "x: !!bool maybe",
    "x: !!binary '%'",
    "names: {1: a, 1: b}",
    "names: {true: a}",
    "<<: *x",
    "\t",
    "--- a\n--- b",
    "names: [a, a]",
    'path: "\\0"',
)


def yolo_cases(images: Path, count: int) -> Iterator[Case]:
    root = images.parent
    labels, described = root / "labels" / "0.txt", root / "data.yaml"
    labels.parent.mkdir()
    plain = {"path": ".", "train": "images", "names": ["cat", "dog"]}
    for seed in range(count):
        rng = random.Random(seed)
        labels.write_text("0 0.5 0.5 0.5 0.5\n")
        described.write_text(yaml.safe_dump(plain))
        at, position = labels, r"0\.txt: line [12]: "
        if rng.random() < 0.6:
            text = "1 0.5 0.5 0.1 0.1\n" * rng.randrange(2) + yolo_line(rng) + "\n"
            labels.write_bytes(text.encode(errors="surrogatepass"))
            if rng.random() < 0.1:
                labels.write_bytes(torn(labels.read_bytes(), rng))
            position = r"0\.txt"
        else:
            content = copy.deepcopy(plain)
            changed(content, rng)
            at, position = root, ""
            data = yaml.safe_dump(content, allow_unicode=rng.random() < 0.5).encode(errors="surrogatepass")
            if rng.random() < 0.4:
                data += f"\n{rng.choice(SNIPPETS)}\n".encode()
            described.write_bytes(torn(data, rng) if rng.random() < 0.2 else data)
        yield Case(lambda: read_yolo(described), lambda problems: load_yolo(described, problems=problems), at, position)


def darknet_cases(images: Path, count: int) -> Iterator[Case]:
    root = images.parent
    parts = {"obj.data": "classes = 2\ntrain = data/train.txt\nnames = obj.names\n", "obj.names": "cat\ndog\n"}
    parts["train.txt"] = "data/images/0.png\nimages/1.png\n"
    for seed in range(count):
        rng = random.Random(seed)
        for name, text in parts.items():
            (root / name).write_text(text)
        file = root / rng.choice(list(parts))
        words = re.split(r"(\s+|/)", file.read_text())
        for _ in range(rng.choice((1, 1, 2))):
            words[rng.randrange(len(words))] = str(rng.choice((*TEXTS, "..", "=", "#", "obj.names", "0", "cat")))
        file.write_bytes("".join(words).encode(errors="surrogatepass"))
        if rng.random() < 0.2:
            file.write_bytes(torn(file.read_bytes() or b"a", rng))
        yield Case(lambda: read_yolo(root), lambda problems: load_yolo(root, problems=problems), root)


def test_yolo(images: Path, promise) -> None:
    count, refused = try_all(yolo_cases(images, 600), images)
    assert refused > count / 3
    (images.parent / "data.yaml").unlink()
    (images.parent / "labels").rename(images.parent / "other")
    lists, refused = try_all(darknet_cases(images, 300), images)
    assert refused > lists / 3
    promise(FORMAT.format("YOLO"), cases=count + lists)


def changed_xml(node: list, rng: random.Random) -> None:
    """Change one random element below `node`."""
    while True:
        children = node[1]
        child = rng.choice(children)
        if isinstance(child[1], list) and child[1] and rng.random() < 0.8:
            node = child
            continue
        kind = rng.random()
        if kind < 0.6:
            text = str(rng.choice((*NUMBERS, *TEXTS[:3], *TEXTS[6:], "nan", "1_0", "1e400", "-inf")))
            child[1] = re.sub(r"[^\x20-\x7e]", "", text)
        elif kind < 0.7:
            children.remove(child)
        elif kind < 0.85:
            children.append(copy.deepcopy(child))
        else:
            child[0] = rng.choice(("name", "size", "object", "bndbox", "x"))
        return


HEADS = (
    '<?xml version="1.0" encoding="utf-16"?>',
    '<?xml version="1.0" encoding="hex"?>',
    '<?xml version="1.0" encoding="no-such"?>',
    '<?xml version="1.0" encoding="shift-jis"?>',
    '<?xml version="9"?>',
    "<!DOCTYPE annotation>",
    '<!DOCTYPE a [<!ENTITY b "c">]>',
    "<!-- -- -->",
    "<a/>",
    "\0",
    "<x>" * 5000,
)


def voc_cases(images: Path, count: int) -> Iterator[Case]:
    root = images.parent
    file = root / "Annotations" / "0.xml"
    file.parent.mkdir()
    for seed in range(count):
        rng = random.Random(seed)
        tree = copy.deepcopy(VOC)
        for _ in range(rng.choice((1, 1, 2, 4))):
            changed_xml(tree, rng)
        data = (rng.choice(HEADS) * (rng.random() < 0.15) + xml(tree)).encode()
        file.write_bytes(torn(data, rng) if rng.random() < 0.1 else data)
        yield Case(
            lambda: read_voc(root), lambda problems: load_voc(root, problems=problems), root, r"0\.xml|categories"
        )


def test_voc(images: Path, promise) -> None:
    count, refused = try_all(voc_cases(images, 1500), images)
    assert refused > count / 3
    promise(FORMAT.format("Pascal VOC"), cases=count)


def blown_up(secret: Path) -> Iterator[str | bytes]:
    """Yield XML whose entities would expand exponentially or include another file."""
    bomb = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 10))
    body = "<annotation><filename>&{};</filename></annotation>"
    yield f'<!DOCTYPE x [<!ENTITY a0 "ha">{bomb}]>' + body.format("a9")
    yield f'<!DOCTYPE x [<!ENTITY a "{"a" * 10**5}">]>' + body.format("a;" + "&a;" * 10**4 + "&a")
    yield f'<!DOCTYPE x [<!ENTITY a SYSTEM "file://{secret}">]>' + body.format("a")
    yield f'<!DOCTYPE x [<!ENTITY a PUBLIC "p" "{secret}">]>' + body.format("a")
    yield f'<!DOCTYPE x [<!ENTITY % a SYSTEM "file://{secret}"> %a;]>' + body.format("amp")
    yield f'<!DOCTYPE x SYSTEM "{secret}">' + body.format("amp")
    yield '<!DOCTYPE x [<!ATTLIST annotation a CDATA "b">]>' + body.format("amp")
    yield ('<?xml version="1.0" encoding="utf-16"?><!DOCTYPE x [<!ENTITY a "b">]>' + body.format("a")).encode("utf-16")
    yield body.format("undeclared")


def test_xml_expands_no_entities_and_reads_no_other_file(images: Path, tmp_path: Path, promise) -> None:
    (secret := tmp_path / "secret.txt").write_text("0.png")
    file = images.parent / "Annotations" / "0.xml"
    file.parent.mkdir()
    cases = list(blown_up(secret))
    for content in cases:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        start = time.process_time()
        with pytest.raises(DataError, match=r"0\.xml: (it declares a document type|not XML \(undefined entity)"):
            read_voc(images.parent)
        assert time.process_time() - start < SECONDS
    promise("XML: entities are never expanded, external files never read", cases=len(cases))
