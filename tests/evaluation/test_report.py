"""Test that the report of `evaluate` is complete and self-contained, and that a browser shows it."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
from base64 import b64decode
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from spinenet_tf.data.dataset import DetectionDataset, Example
from spinenet_tf.data.masks import RunLengthMask
from spinenet_tf.evaluation.average_precision import evaluate
from spinenet_tf.evaluation.metrics import METRICS
from spinenet_tf.evaluation.report import MATRIX_CLASSES, check_report_folder, write_report

SECTIONS = ("COCO metrics", "Precision and recall", "Classes", "Confusion matrix", "Best and worst images")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
OFFLINE = "--disable-background-networking --disable-component-update --disable-sync --disable-quic --no-first-run"
MEASURE = """<script>addEventListener("load", () => {
  const boxes = [...document.images].map(img => {
    const {left, top, width, height} = img.getBoundingClientRect();
    return {naturalWidth: img.naturalWidth, left, top, width, height};
  });
  const height = document.documentElement.scrollHeight, width = document.documentElement.scrollWidth;
  document.body.textContent = JSON.stringify({boxes, width, height});
})</script>"""


class Page(HTMLParser):
    """Parse the text, the tags and the attributes of a page."""

    def __init__(self, path: Path):
        super().__init__()
        self.words: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.text = " ".join(self.words)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def pictures(self) -> list[bytes]:
        """Return the image files embedded in the page."""
        sources = [attributes["src"] for tag, attributes in self.tags if tag == "img"]
        assert all(source.startswith("data:image/") for source in sources)
        return [b64decode(source.split(";base64,")[1], validate=True) for source in sources]


@pytest.fixture(scope="module")
def report(tmp_path_factory, succeed, tiny_run) -> Path:
    """Return the report of `tiny_run`, written once."""
    folder = tmp_path_factory.mktemp("report") / "report"
    succeed("evaluate", tiny_run, "--report", folder, "--threshold", 0, "--json", folder.parent / "ap.json")
    return folder / "index.html"


def test_the_page_has_all_sections_and_the_numbers_of_the_json(report: Path, tiny_run: Path) -> None:
    page, numbers = Page(report), json.loads((report.parents[1] / "ap.json").read_text())
    assert all(section in page.words for section in SECTIONS)
    for name in METRICS:
        shown = page.words[page.words.index(name) + 1]
        assert shown == ("-" if numbers[name] is None else f"{numbers[name]:.3f}")
    for text in ("digit", "background", str(tiny_run), "0, for confusion matrix, precision, recall and pictures"):
        assert text in page.words
    assert f"Evaluation of {tiny_run.name} on annotations" in page.words


def test_the_page_needs_nothing_beside_itself(report: Path) -> None:
    page = Page(report)
    assert [path.name for path in report.parent.iterdir()] == ["index.html"]
    assert not {"script", "link", "iframe", "object", "a", "base"} & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        assert not {"href", "srcset", "data"} & attributes.keys()
        assert "url(" not in attributes.get("style", "")
    assert "url(" not in page.text
    assert "@import" not in page.text
    curve, *photographs = page.pictures()
    assert ElementTree.fromstring(curve).tag.endswith("svg")
    assert len(photographs) == 2 * 4  # true and found, of the run's four scenes
    for photograph in photographs:
        assert np.asarray(Image.open(io.BytesIO(photograph))).std() > 5
    assert report.stat().st_size < 1e6


def test_a_tflite_file_gets_a_report_on_data_that_are_given(tmp_path, succeed, tiny_run, tiny_tflite) -> None:
    annotations = next(tiny_run.parent.glob("data/digits1-val-*/annotations.json"))
    data = ("--annotations", annotations, "--images", annotations.parent / "images")
    succeed("evaluate", tiny_tflite, *data, "--report", tmp_path / "report")
    page = Page(tmp_path / "report" / "index.html")
    assert str(tiny_tflite) in page.words
    assert len(page.pictures()) == 9


@pytest.fixture
def cats(tmp_path: Path) -> Callable[..., tuple[DetectionDataset, list[dict]]]:
    """Return `cats(names)`: two images `<b>&0.png` and `<b>&1.png` with one object each; only the first is detected."""

    def make(names: tuple[str, ...]) -> tuple[DetectionDataset, list[dict]]:
        boxes = np.array([[8, 8, 40, 40]], np.float32)
        examples = []
        for number in (0, 1):
            path = tmp_path / f"<b>&{number}.png"
            Image.fromarray(np.full((64, 64, 3), 99, np.uint8)).save(path)
            row = (boxes, np.array([number]), np.array([False]), np.array([1024.0]))
            examples.append(Example(number, path, 64, 64, *row))
        dataset = DetectionDataset("<i>cats & dogs</i>", names, tuple(range(1, 1 + len(names))), tuple(examples))
        return dataset, [{"image_id": 0, "boxes": boxes, "scores": np.array([0.8]), "classes": np.array([0])}]

    return make


def write(folder: Path, data: tuple[DetectionDataset, list[dict]], **options) -> Path:
    model = options.pop("model", "<u>run</u>")
    return write_report(folder, replace(evaluate(*data), model=model), **options)


def test_names_of_users_are_text_and_never_markup(tmp_path: Path, cats) -> None:
    names = ("<script>alert(1)</script>", "</style>&quot;$x_")
    page = Page(write(tmp_path / "report", cats(names)))
    assert not {"script", "b", "i", "u"} & {tag for tag, _ in page.tags}
    for text in (*names, "<b>&0.png", "<b>&1.png", "<i>cats & dogs</i>", "<u>run</u>"):
        assert text in page.words
    assert f"{names[1]} missed" in page.words


def test_numbers_that_are_not_cocos_are_called_by_other_names(tmp_path: Path, cats) -> None:
    dataset, detections = cats(("cat", "dog"))
    numbers = replace(evaluate(dataset, detections, 300), crowded=2)
    numbers.report(tmp_path / "report")
    page = Page(tmp_path / "report" / "index.html")
    assert page.words[page.words.index("AP@300") + 1] == page.words[page.words.index("AR300") + 1] == "0.500"
    assert {"Non-COCO metrics", "with 300"} < set(page.words)
    assert "COCO counts 100 detections, these metrics 300." in page.words
    assert "Images with more objects than counted detections: 2." in page.text


def test_classes_show_what_was_found_of_them(tmp_path: Path, cats) -> None:
    words = Page(write(tmp_path / "report", cats(("cat", "dog", "cow")))).words
    rows = {name: words.index(name, words.index("curves")) for name in ("cat", "dog", "cow")}
    assert words[rows["cat"] : rows["cat"] + 7] == ["cat", "1", "1.000", "1.000", "1.000", "1.000", "1.000"]
    assert words[rows["dog"] : rows["dog"] + 7] == ["dog", "1", "0.000", "0.000", "0.000", "-", "0.000"]
    assert words[rows["cow"] : rows["cow"] + 7] == ["cow", "0", "-", "-", "-", "-", "-"]


def with_masks(data: tuple[DetectionDataset, list[dict]]) -> tuple[DetectionDataset, list[dict]]:
    """Give each object the mask of its whole box, and the detection a mask of its upper half."""
    whole, half = np.zeros((2, 64, 64), bool)
    whole[8:40, 8:40] = half[8:24, 8:40] = True
    dataset, (found,) = data
    examples = tuple(replace(example, masks=(RunLengthMask.of(whole),)) for example in dataset)
    return replace(dataset, examples=examples), [found | {"masks": [RunLengthMask.of(half)]}]


def test_masks_have_columns_curves_and_pictures(tmp_path: Path, cats) -> None:
    dataset, detections = with_masks(cats(("cat", "dog")))
    evaluate(dataset, detections, masks=True).report(tmp_path / "report")
    page = Page(tmp_path / "report" / "index.html")
    assert page.words[page.words.index("AP") + 1 :][:2] == ["0.500", "0.050"], "boxes, masks"
    assert page.words[page.words.index("AP75") + 1 :][:2] == ["0.500", "0.000"]
    rows = {name: page.words.index(name, page.words.index("curves")) for name in ("cat", "dog")}
    assert page.words[rows["cat"] : rows["cat"] + 7] == ["cat", "1", "1.000", "0.100", "1.000", "0.000", "1.000"]
    assert "if the IoU of their masks is at least 0.50." in page.text
    assert {"mask AP", "mask AP50", "mask AP75", "Boxes", "Masks"} < set(page.words)
    pictures = page.pictures()
    assert [ElementTree.fromstring(curve).tag[-3:] for curve in pictures[:2]] == ["svg", "svg"]
    true, found = (np.asarray(Image.open(io.BytesIO(data))).astype(int) for data in pictures[2:4])
    changed = [np.abs(picture - 99).max(axis=2) > 20 for picture in (true, found)]
    zoom = true.shape[0] // 64
    lower, upper = (slice(first * zoom, last * zoom) for first, last in ((28, 36), (16, 22)))
    inside = slice(14 * zoom, 34 * zoom)
    assert [each[upper, inside].mean() > 0.9 for each in changed] == [True, True]
    assert [each[lower, inside].mean() > 0.9 for each in changed] == [True, False]


def test_boxes_are_judged_and_drawn_without_the_masks_of_the_data(tmp_path: Path, cats) -> None:
    dataset, detections = cats(("cat", "dog"))
    masked, _ = with_masks((dataset, detections))
    pages = [Page(write(tmp_path / name, (data, detections))) for name, data in (("a", dataset), ("b", masked))]
    assert pages[0].pictures()[1:] == pages[1].pictures()[1:], "the drawing of the curves states the time"


def test_of_many_classes_the_matrix_shows_those_with_mistakes(tmp_path: Path, cats) -> None:
    names = tuple(f"class {number}" for number in range(200))
    page = Page(write(tmp_path / "report", cats(names)))
    assert f"Shown: the {MATRIX_CLASSES} of 200 classes with most mistakes." in page.text
    assert all(name in page.words for name in names)
    assert len([tag for tag, _ in page.tags if tag == "td"]) < 200 * 10 + (MATRIX_CLASSES + 1) ** 2 + 100


def test_data_without_objects_have_a_report(tmp_path: Path, cats) -> None:
    dataset, _ = cats(("cat", "dog"))
    none = {"boxes": np.zeros((0, 4), np.float32), "classes": np.zeros(0, int), "crowd": np.zeros(0, bool)}
    empty = replace(dataset, examples=tuple(replace(e, **none, area=np.zeros(0)) for e in dataset))
    page = Page(write(tmp_path / "report", (empty, [])))
    assert "Best and worst images" not in page.words
    assert page.words[page.words.index("AP") + 1] == "-"


def test_a_report_replaces_a_report_and_nothing_else_unless_told(tmp_path: Path, cats) -> None:
    folder, data = tmp_path / "report", cats(("cat", "dog"))
    folder.mkdir()
    write(folder, data, model="one")
    assert "two" in Page(write(folder, data, model="two")).words
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "index.html").write_text("<title>Thesis</title>")
    with pytest.raises(FileExistsError, match="is not an earlier report"):
        write(thesis, data)
    assert (thesis / "index.html").read_text() == "<title>Thesis</title>"
    (thesis / "notes.txt").write_text("mine")
    write(thesis, data, overwrite=True)
    check_report_folder(thesis, overwrite=False)
    assert (thesis / "notes.txt").read_text() == "mine"


def test_a_report_that_fails_leaves_nothing(tmp_path: Path, cats) -> None:
    data = cats(("cat", "dog"))
    data[0].examples[1].path.write_text("no image")
    with pytest.raises(ValueError, match=r"1\.png: not a readable image"):
        write(tmp_path / "report", data)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["<b>&0.png", "<b>&1.png"]


def browse(page: Path, folder: Path, *options: str) -> bytes:
    """Open a page in headless Chromium with a new profile, and return Chromium's output."""
    profile = f"--user-data-dir={folder / 'profile'}"
    always = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", *OFFLINE.split(), profile]
    command = [str(CHROMIUM), *always, *options, page.as_uri()]
    return subprocess.run(command, capture_output=True, check=True, timeout=120).stdout


@pytest.mark.skipif(CHROMIUM is None and not os.environ.get("CI"), reason="there is no Chromium on PATH")
@pytest.mark.parametrize("width", [1280, 700])
def test_a_browser_shows_every_picture(report: Path, tmp_path: Path, width: int) -> None:
    """A script in a copy of the page measures it; the screenshot shows the original page."""
    copy = tmp_path / "copy.html"
    copy.write_text(report.read_text(encoding="utf-8").replace("</body>", f"{MEASURE}</body>"), encoding="utf-8")
    dom = browse(copy, tmp_path, f"--window-size={width},900", "--dump-dom").decode()
    body = dom[dom.index("<body>") + len("<body>") : dom.index("</body>")]
    measured = json.loads(body)
    assert len(measured["boxes"]) == 9
    assert measured["width"] <= width, "the page is wider than its window"
    size = f"--window-size={width},{measured['height']}"
    browse(report, tmp_path, size, f"--screenshot={tmp_path / 'page.png'}")
    shot = np.asarray(Image.open(tmp_path / "page.png").convert("RGB"), float)
    assert shot.shape[:2] == (measured["height"], width)
    for box in measured["boxes"]:
        assert box["naturalWidth"] > 0
        top, left = round(box["top"]), round(box["left"])
        shown = shot[top : top + round(box["height"]), left : left + round(box["width"])]
        assert min(shown.shape[:2]) > 100
        assert shown.std() > 5, "the picture is blank"
