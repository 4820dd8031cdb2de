"""The web page detects the same in Chromium as Python."""

from __future__ import annotations

import csv
import functools
import json
import os
import re
import shutil
import struct
import subprocess
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.cbook import get_sample_data
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from small_detector import CLASS_NAMES
from webm import write_webm

from spinenet_tf import export
from spinenet_tf.checkpoints.photograph import NAME
from spinenet_tf.export import webpage
from spinenet_tf.inference.loading import load
from spinenet_tf.inference.predicting import predict_sources
from spinenet_tf.inference.predictor import Predictor
from spinenet_tf.inference.sources import find_sources

NEEDED = ("node", "npm", "chromium")
DRIVER = "playwright-core@1"
SCORE, PIXELS = 1e-4, 0.05  # tolerances
LINE = 2  # px, the border of a box
ORIENTATION, TURNED_RIGHT = 0x0112, 6  # of EXIF
CATEGORIES = [{"id": 7, "name": CLASS_NAMES[2]}, {"id": 3, "name": CLASS_NAMES[1]}]  # not "cat"


def skip(reason: str) -> None:
    """Skip the test, but fail in CI, which installs all that is needed."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


@pytest.fixture(scope="module")
def node_modules(tmp_path_factory) -> Path:
    """Return a folder in which npm has installed the Chromium driver."""
    missing = [program for program in NEEDED if shutil.which(program) is None]
    if missing:
        skip(f"a browser test needs {', '.join(missing)}")
    folder = tmp_path_factory.mktemp("node")
    done = subprocess.run(
        ["npm", "install", "--prefix", folder, "--no-audit", "--no-fund", DRIVER],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        skip(f"npm cannot fetch {DRIVER}: {done.stderr[-200:]}")
    return folder


@pytest.fixture(scope="module")
def page(detector, tmp_path_factory) -> Path:
    """Return the folder of the web page of `detector`, exported once."""
    if shutil.which("npm") is None:
        skip("the web page needs npm")
    folder = tmp_path_factory.mktemp("web") / "page"
    export.web(detector, folder, class_names=CLASS_NAMES)
    return folder


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def url(page):
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=page)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def frames() -> list[Image.Image]:
    """Return crops of a photograph, which move down."""
    with Image.open(get_sample_data(NAME, asfileobj=False)) as photograph:
        return [photograph.crop((100, 20 * row, 420, 20 * row + 160)) for row in range(12)]


@pytest.fixture(scope="module")
def files(tmp_path_factory, frames) -> Path:
    """Return a folder with what a person selects in the page."""
    files = tmp_path_factory.mktemp("files")
    folder = files / "folder"
    folder.mkdir()
    frames[0].save(files / "picture.png")
    write_webm(files / "clip.webm", frames, milliseconds=100)
    write_webm(files / "recording.webm", frames, milliseconds=100, states_duration=False)
    frames[11].save(folder / "plain.png")
    linear = PngInfo()
    linear.add(b"gAMA", struct.pack(">I", 100_000))  # Pillow shows the values in the file; browsers convert them
    frames[4].save(folder / "gamma.png", pnginfo=linear)
    turned = Image.Exif()
    turned[ORIENTATION] = TURNED_RIGHT
    frames[8].save(folder / "turned.jpg", exif=turned, quality=95, subsampling=0)
    cut = (folder / "turned.jpg").read_bytes()[:5000]
    others = {"broken.jpg": b"no image", "cut.jpg": cut, "notes.txt": b"no picture", ".hidden.jpg": b"no image"}
    for name, content in others.items():
        (folder / name).write_bytes(content)
    images = [{"id": 10 + index, "file_name": f"images/{path.name}"} for index, path in enumerate(good(files))]
    (files / "annotations.json").write_text(json.dumps({"images": images, "categories": CATEGORIES, "annotations": []}))
    return files


def good(files: Path) -> list[Path]:
    """Return the pictures of the folder that can be read."""
    return [files / "folder" / name for name in ("gamma.png", "plain.png", "turned.jpg")]


@pytest.fixture(scope="module")
def output(node_modules, url, files, tmp_path_factory) -> Path:
    """Return the folder with what Chromium showed (`shown.json`) and saved."""
    folder = tmp_path_factory.mktemp("browser")
    driver = Path(__file__).with_name("browser.mjs")
    arguments = map(str, [driver, node_modules, shutil.which("chromium"), url, files, folder])
    done = subprocess.run(["node", *arguments], capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    (folder / "shown.json").write_text(done.stdout)
    return folder


@pytest.fixture(scope="module")
def shown(output: Path) -> dict[str, Any]:
    return read(output / "shown.json")


@pytest.fixture(scope="module")
def predictor(page: Path) -> Predictor:
    return load(page / "model.tflite")


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def assert_same(found: list[dict], expected: list[dict]) -> None:
    """Compare the detections in two images, as the page and `spinenet-tf predict` write them."""
    assert len(found) == len(expected) > 0
    assert [one["class"] for one in found] == [one["class"] for one in expected]
    np.testing.assert_allclose([one["score"] for one in found], [one["score"] for one in expected], atol=SCORE)
    np.testing.assert_allclose([one["box"] for one in found], [one["box"] for one in expected], atol=PIXELS)


def in_python(predictor: Predictor, files: list[Path], folder: Path, annotations: Path | None = None) -> Any:
    """Return what `spinenet-tf predict` writes; without `annotations`, in the page's format: a dict by image."""
    written = predict_sources([predictor], find_sources(files), folder, annotations=annotations).path
    if annotations is not None:
        return read(written)
    return {row.pop("image"): row for row in map(json.loads, written.read_text().splitlines())}


@pytest.mark.slow
def test_the_page_works_offline_without_errors(shown) -> None:
    assert (shown["problems"], shown["foreign"]) == ([], [])


@pytest.mark.slow
def test_a_picture_has_the_detections_of_python(shown, output, predictor, files, tmp_path) -> None:
    found, expected = read(output / "picture.json"), in_python(predictor, [files / "picture.png"], tmp_path / "out")
    assert found.keys() == expected.keys() == {"picture.png"}
    assert found["picture.png"]["size"] == expected["picture.png"]["size"]
    detections = found["picture.png"]["detections"]
    assert_same(detections, expected["picture.png"]["detections"])
    assert shown["picture"]["list"] == [f"{one['class']} {one['score']:.2f}" for one in detections]


@pytest.mark.slow
def test_boxes_are_drawn_where_they_are(shown, output) -> None:
    (picture,) = read(output / "picture.json").values()
    (height, width), stage = picture["size"], shown["picture"]["stage"]
    scale = stage["width"] / width
    assert stage["height"] == pytest.approx(height * scale, abs=1)
    drawn = [
        [box["top"] - stage["y"], box["left"] - stage["x"], box["bottom"] - stage["y"], box["right"] - stage["x"]]
        for box in shown["picture"]["boxes"]
    ]
    expected = np.array([one["box"] for one in picture["detections"]]) * scale
    expected[:, 2:] = np.maximum(expected[:, 2:], expected[:, :2] + 2 * LINE)  # a box may be empty
    np.testing.assert_allclose(drawn, expected, atol=1)


@pytest.mark.slow
def test_the_minimum_score_selects_what_is_shown(shown) -> None:
    assert shown["picture"]["above"] == []
    assert shown["picture"]["status"].startswith("0 found in ")


@pytest.mark.slow
def test_a_folder_has_the_detections_of_python(output, predictor, files, tmp_path) -> None:
    """Also an image that EXIF turns, and one whose colors browsers convert."""
    found, expected = read(output / "folder.json"), in_python(predictor, good(files), tmp_path / "out")
    assert list(found) == list(expected)
    for name, image in expected.items():
        assert found[name]["size"] == image["size"]
        assert_same(found[name]["detections"], image["detections"])


@pytest.mark.slow
def test_a_bad_file_does_not_stop_the_others(shown) -> None:
    folder = shown["folder"]
    assert folder["problems"] == [
        "broken.jpg: The source image could not be decoded.",
        "cut.jpg: The source image could not be decoded.",
        "notes.txt: not used",
    ]
    assert "in 3 of 5 pictures, " in folder["status"]
    assert folder["status"].endswith("Could not read: 2.")


@pytest.mark.slow
def test_dropped_files_of_the_same_name_are_distinct(shown) -> None:
    assert shown["drop"] == ["picture.png", "picture.png (2)"]


@pytest.mark.slow
def test_coco_results_are_those_of_python(shown, output, predictor, files, tmp_path) -> None:
    found = read(output / "coco.json")
    expected = in_python(predictor, good(files), tmp_path / "out", files / "annotations.json")
    assert [one.keys() for one in found] == [one.keys() for one in expected]
    for key, tolerance in {"image_id": 0, "category_id": 0, "score": SCORE, "bbox": PIXELS}.items():
        np.testing.assert_allclose([one[key] for one in found], [one[key] for one in expected], atol=tolerance)
    numbered = read(output / "numbered.json")
    assert {one["image_id"] for one in numbered} == {3, 4, 5}  # broken.jpg and cut.jpg are 1 and 2
    assert {one["category_id"] for one in numbered} <= {1, 2, 3}
    left = len(numbered) - len(found)
    assert shown["folder"]["saved"].endswith(f"It lacks {left} detections of classes that the COCO file does not have.")


@pytest.mark.slow
def test_the_gallery_is_used_with_the_keyboard_and_on_a_phone(shown, output) -> None:
    assert shown["keyboard"] == ["gamma.png", "plain.png", "gamma.png", "gamma.png"]
    assert shown["folder"]["phoneWidth"] == 390
    with Image.open(output / "phone.png") as screenshot:
        assert screenshot.width == 390


@pytest.mark.slow
def test_a_video_frame_has_the_detections_of_python(shown, output, predictor, frames) -> None:
    clip = read(output / "video.json")["clip.webm"]
    assert clip["size"] == [160, 320]
    assert "0 frames" not in shown["video"]["played"]
    times = [frame["seconds"] for frame in clip["frames"]]
    assert len(times) > 2
    np.testing.assert_allclose(np.multiply(times, 10), np.round(np.multiply(times, 10)), atol=1e-6)
    found = next(frame["detections"] for frame in clip["frames"] if round(frame["seconds"], 3) == 0.5)
    expected = predictor(output / "frame.png")
    columns = zip(expected.names, expected.scores.tolist(), expected.boxes.tolist(), strict=True)
    assert_same(found, [{"class": name, "score": score, "box": box} for name, score, box in columns])
    difference = np.abs(expected.image.astype(float) - np.asarray(frames[5].convert("RGB")))
    assert difference.mean() < 4, "this is not the frame at 0.5 s"  # VP8 is lossy


@pytest.mark.slow
def test_a_video_is_saved_as_csv(output) -> None:
    clip = read(output / "video.json")["clip.webm"]
    expected = [
        {"seconds": f"{frame['seconds']:.3f}", "class": one["class"], "score": one["score"], "box": one["box"]}
        for frame in clip["frames"]
        for one in frame["detections"]
    ]
    with (output / "video.csv").open(encoding="utf-8", newline="") as file:
        found = [
            {
                "seconds": row["seconds"],
                "class": row["class"],
                "score": float(row["score"]),
                "box": [float(row[side]) for side in ("top", "left", "bottom", "right")],
            }
            for row in csv.DictReader(file)
        ]
    assert found == expected


@pytest.mark.slow
def test_the_camera_is_used_and_released(shown) -> None:
    assert " found in " in shown["camera"]["details"]
    assert shown["camera"]["hidden"]


@pytest.mark.slow
def test_what_cannot_be_shown_is_an_error(shown) -> None:
    assert shown["video"]["status"] == "Error: There is no picture or video in this selection."


@pytest.mark.slow
def test_places_after_the_last_detection_are_not_read(shown) -> None:
    assert shown["garbage"] == [{"box": [1, 2, 3, 4], "score": 0.5, "class": 2}]


def test_the_folder_has_all_that_the_page_loads(page) -> None:
    names = {str(path.relative_to(page)) for path in page.rglob("*") if path.is_file()}
    engine = {
        f"vendor/core/wasm/litert_wasm{kind}_internal.{end}" for kind in ("", "_compat") for end in ("js", "wasm")
    }
    assert names >= engine | {"index.html", "style.css", "model.tflite", "model.metadata.json"}
    imported = {
        module
        for script in page.glob("*.js")
        for module in re.findall(r'from "\./(.+)"', script.read_text(encoding="utf-8"))
    }
    assert names >= imported | {"page.js"} > {"detector.js"}
    assert {"vendor/core/dist/index.js", "vendor/wasm-utils/dist/index.js"} <= names


def test_the_command_line_writes_a_page(tiny_run, tmp_path, succeed, monkeypatch, capsys) -> None:
    monkeypatch.setattr(webpage, "_vendor", lambda folder: None)  # the same for all models
    succeed("export", tiny_run, "--format", "web", "--output", tmp_path / "page")
    assert f"python -m http.server --directory {tmp_path / 'page'}" in capsys.readouterr().out
    assert (tmp_path / "page" / "index.html").is_file()
    assert load(tmp_path / "page" / webpage.MODEL).task == "detection"


def test_without_npm_nothing_is_written(detector, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(webpage, "tflite", None)  # not reached
    monkeypatch.setattr(webpage.shutil, "which", lambda program: None)
    with pytest.raises(RuntimeError, match="needs npm"):
        export.web(detector, tmp_path / "page")
    assert not list(tmp_path.iterdir())


def test_a_page_needs_a_detector(classifier, tmp_path) -> None:
    with pytest.raises(ValueError, match="needs a detector"):
        export.web(classifier, tmp_path / "page")
    assert not list(tmp_path.iterdir())
