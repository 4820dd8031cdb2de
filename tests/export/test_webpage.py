"""The web page detects the same in Chromium as Python."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spinenet_tf import export
from spinenet_tf.export import webpage
from spinenet_tf.inference.loading import load

NEEDED = ("node", "npm", "chromium")
DRIVER = "playwright-core@1"


@pytest.fixture(scope="module")
def node_modules(tmp_path_factory) -> Path:
    """Return a folder in which npm has installed the Chromium driver."""
    missing = [program for program in NEEDED if shutil.which(program) is None]
    if missing:
        pytest.skip(f"a browser test needs {', '.join(missing)}")
    folder = tmp_path_factory.mktemp("node")
    done = subprocess.run(
        ["npm", "install", "--prefix", folder, "--no-audit", "--no-fund", DRIVER],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"npm cannot fetch {DRIVER}: {done.stderr[-200:]}")
    return folder


@pytest.fixture(scope="module")
def page(tiny_run, tmp_path_factory, succeed, node_modules) -> Path:
    """Return the folder of the web page of `tiny_run`, exported once."""
    folder = tmp_path_factory.mktemp("web") / "page"
    succeed("export", tiny_run, "--format", "web", "--output", folder)
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


def browse(node_modules: Path, url: str, image: Path, folder: Path) -> dict:
    driver = Path(__file__).with_name("browser.mjs")
    profile, screenshot = folder / "profile", folder / "screenshot.png"
    arguments = [driver, node_modules, shutil.which("chromium"), profile, url, image, screenshot]
    done = subprocess.run(["node", *map(str, arguments)], capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_the_page_finds_on_a_digits_image_what_python_finds(page, url, node_modules, tiny_run, tmp_path) -> None:
    scene = sorted((tiny_run.parent / "data").rglob("*.jpg"))[0]
    image = tmp_path / "scene.png"  # a lossless copy: browsers and Pillow may round JPEG otherwise
    Image.open(scene).save(image)
    shown = browse(node_modules, url, image, tmp_path)
    assert (shown["problems"], shown["foreign"]) == ([], [])

    predictor = load(page / "model.tflite")
    expected = predictor(image)
    assert len(shown["found"]) == len(expected) > 0
    assert shown["status"].startswith(f"{len(shown['found'])} found in ")
    assert shown["texts"][0].startswith(f"{expected.names[0]}, score ")
    np.testing.assert_allclose([one["score"] for one in shown["found"]], expected.scores, atol=1e-4)
    np.testing.assert_allclose([one["box"] for one in shown["found"]], expected.boxes, atol=0.05)
    assert [one["class"] for one in shown["found"]] == expected.classes.tolist()
    with Image.open(tmp_path / "screenshot.png") as screenshot:
        assert screenshot.size == (1280, 720)


def test_the_folder_has_all_that_the_page_loads(page) -> None:
    names = {str(path.relative_to(page)) for path in page.rglob("*") if path.is_file()}
    engine = {
        f"vendor/core/wasm/litert_wasm{kind}_internal.{end}" for kind in ("", "_compat") for end in ("js", "wasm")
    }
    assert names >= engine | {
        "index.html",
        "page.js",
        "detector.js",
        "style.css",
        "model.tflite",
        "model.metadata.json",
    }
    assert {"vendor/core/dist/index.js", "vendor/wasm-utils/dist/index.js"} <= names


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
