"""Write an artifact atomically, together with the files next to it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spinenet_tf._files import writing
from spinenet_tf.inference.metadata import LABELS, METADATA, is_metadata

# The top-level contents of a SavedModel and of a web page, by the file that identifies the format.
_MODEL_FILES = {"model.tflite", "model.metadata.json", "model.labels.txt"}
_CONTENTS = {
    "saved_model.pb": {"fingerprint.pb", "variables", "assets", "assets.extra"},
    "detector.js": {path.name for path in Path(__file__).with_name("static").iterdir()} | {"vendor"} | _MODEL_FILES,
}
# Paths of the metadata; the first versions wrote a SavedModel's metadata to assets.extra.
_METADATA = ("assets/metadata.json", "assets.extra/metadata.json", "model.metadata.json")
_CONTAINERS = {".tflite", ".onnx", ".xml"}  # files of these formats contain their metadata, too
_DROPPED = {".DS_Store", "Thumbs.db", "desktop.ini"}  # operating systems add these to folders on viewing


def check_suffix(path: str | os.PathLike, suffix: str, kind: str) -> None:
    """Check the end of a file's name.

    Raises:
        ValueError: it is not `suffix`.
    """
    if Path(path).suffix != suffix:
        raise ValueError(f"The name of {kind} must end in {suffix}. Received: path={str(path)!r}")


@contextmanager
def staged(target: str | os.PathLike, overwrite: bool) -> Iterator[Path]:
    """Yield a temporary path whose content moves to `target` on success; raises as `writing.staged` does.

    With `overwrite`, a folder is replaced if an export wrote it and nothing else was added to it. The metadata and
    labels next to a file are replaced if no other file is, since `model.tflite` and `model.onnx` share them.
    """
    target = Path(target)
    shared = not target.exists() and _beside(target).is_file() and holds_no_other_files(target, is_folder=False)
    with writing.staged(target, overwrite=overwrite or shared, replaces=_is_export) as path:
        yield path


def _beside(file: Path) -> Path:
    return file.with_suffix(f".{METADATA}")


def _is_export(folder: Path) -> bool:
    """Return whether an export wrote the folder.

    Raises:
        FileExistsError: an export wrote it, but other files were added since.
    """
    mark = next((mark for mark in _CONTENTS if (folder / mark).is_file()), None)
    files = [folder / name for name in _METADATA if (folder / name).is_file()]
    if mark is None or not any(is_metadata(file.read_bytes()) for file in files):
        return False
    others = {path.name for path in folder.iterdir()} - _CONTENTS[mark] - {mark} - _DROPPED
    if others:
        raise FileExistsError(f"{folder} contains {min(others)}, which no export wrote: move it away first.")
    return True


def holds_no_other_files(path: Path, *, is_folder: bool) -> bool:
    """Return whether `path` is free or holds an earlier export of the same kind, which a new one may replace.

    This includes the metadata and labels next to a file.
    """
    if is_folder:
        return not path.exists() or (path.is_dir() and _is_export(path))
    beside, labels = _beside(path), path.with_suffix(f".{LABELS}")
    if is_metadata(beside.read_bytes()) if beside.is_file() else not labels.exists():
        return not path.exists() or (path.is_file() and _is_described(path, beside))
    return False


def _is_described(file: Path, beside: Path) -> bool:
    """Return whether a file has metadata inside, or next to it if its format cannot contain them."""
    return METADATA.encode() in file.read_bytes() if file.suffix in _CONTAINERS else beside.is_file()
