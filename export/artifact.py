"""An artifact on disk: it appears whole, with the files that belong beside it, or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spinenet_tf._files import writing
from spinenet_tf.inference.metadata import is_metadata

# What a SavedModel and a web page hold at their top, each by the file that tells which of them a folder is.
_MODEL_FILES = {"model.tflite", "model.metadata.json", "model.labels.txt"}
_CONTENTS = {
    "saved_model.pb": {"fingerprint.pb", "variables", "assets", "assets.extra"},
    "detector.js": {"index.html", "page.js", "style.css", "vendor"} | _MODEL_FILES,
}
# Where their metadata are; the first versions had those of a SavedModel in assets.extra.
_METADATA = ("assets/metadata.json", "assets.extra/metadata.json", "model.metadata.json")
_DROPPED = {".DS_Store", "Thumbs.db", "desktop.ini"}  # what systems put into folders that somebody only looks at


@contextmanager
def staged(target: str | os.PathLike, overwrite: bool) -> Iterator[Path]:
    """Yield the path at which to write what shall appear at `target`, as `writing.staged` does, and raise as it does.

    With `overwrite`, a folder that an export wrote is replaced, if nothing else was put into it.
    """
    with writing.staged(target, overwrite=overwrite, replaces=_is_export) as path:
        yield path


def _is_export(folder: Path) -> bool:
    """Return whether an export wrote the folder.

    Raises:
        FileExistsError: it did, but something else was put into it since.
    """
    mark = next((mark for mark in _CONTENTS if (folder / mark).is_file()), None)
    files = [folder / name for name in _METADATA if (folder / name).is_file()]
    if mark is None or not any(is_metadata(file.read_bytes()) for file in files):
        return False
    strangers = {path.name for path in folder.iterdir()} - _CONTENTS[mark] - {mark} - _DROPPED
    if strangers:
        raise FileExistsError(f"{folder} holds {min(strangers)}, which no export wrote: move it away first.")
    return True
