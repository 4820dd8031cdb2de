"""Export to a static web page that detects in the browser: a .tflite file, LiteRT.js and a page."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spinenet_tf._files.size import size_of
from spinenet_tf.export.artifact import staged
from spinenet_tf.export.check.verify import Artifact
from spinenet_tf.export.litert.tflite_file import tflite
from spinenet_tf.heads.detector import DetectionModel
from spinenet_tf.inference.keras_model import task_of

if TYPE_CHECKING:
    from spinenet_tf.data.dataset import DetectionDataset

LITERT = "@litertjs/core@2.5.3"  # the version that the page was tested with
MODEL = "model.tflite"

# The files of the npm packages that the page loads; the engine has variants with and without relaxed SIMD.
_VENDORED = {
    "core": ["package.json", "dist/index.js", *(f"wasm/litert_wasm{kind}_internal.*" for kind in ("", "_compat"))],
    "wasm-utils": ["package.json", "dist/index.js"],
}


def web(
    model: DetectionModel,
    path: str | os.PathLike,
    quantization: str = "none",
    calibration: Iterable[np.ndarray] | None = None,
    class_names: Sequence[str] | None = None,
    verify_on: DetectionDataset | None = None,
    overwrite: bool = False,
    keep_float: Sequence[str] = (),
) -> Artifact:
    """Write a folder with a page that detects in pictures, videos and the camera's image, on the user's device.

    The page saves detections as JSON, COCO results and CSV. The arguments are those of `tflite`. The .tflite file, with
    normalized float32 input and detections as outputs, is verified. npm fetches LiteRT.js once, during the export; the
    page contacts no other host. Serve the folder with `python -m http.server --directory PATH`. The camera needs https
    or localhost.

    Raises:
        ValueError: the model is not a detector, or as `tflite` does.
        FileExistsError: `path` exists and `overwrite` is False, or it is a folder but not a page of this package.
        ExportError: as `tflite` does; nothing was written.
        RuntimeError: npm is not installed, or cannot fetch LiteRT.js; nothing was written.
    """
    if task_of(model) != "detection":
        valid = "The web page needs a detector of boxes: it draws no masks"
        raise ValueError(f"{valid}. Received: model={type(model).__name__}")
    with staged(path, overwrite) as folder:
        shutil.copytree(str(resources.files("spinenet_tf.export") / "static"), folder)
        _vendor(folder / "vendor")
        checks = (calibration, class_names, verify_on)
        options: dict[str, Any] = {"inputs": "float32", "outputs": "detections", "keep_float": keep_float}
        inside = tflite(model, folder / MODEL, quantization, *checks, **options)
    return Artifact(Path(path), size_of(Path(path)), inside.difference, inside.ap)


def _vendor(folder: Path) -> None:
    """Fetch LiteRT.js and copy the files that the page loads."""
    with tempfile.TemporaryDirectory() as temporary:
        _npm_install(temporary)
        for package, patterns in _VENDORED.items():
            source = Path(temporary, "node_modules", "@litertjs", package)
            for file in (file for pattern in patterns for file in source.glob(pattern)):
                target = folder / package / file.relative_to(source)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)


def _npm_install(folder: str) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise RuntimeError("The web page needs npm to fetch LiteRT.js: install Node.js (https://nodejs.org).")
    command = [npm, "install", "--prefix", folder, "--ignore-scripts", "--no-audit", "--no-fund", LITERT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line.lower()]
        raise RuntimeError(f"npm could not fetch {LITERT}: {' '.join(lines[:2])}")
