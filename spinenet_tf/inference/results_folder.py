"""Keep the results of many images in a folder: a JSON line per image, which appears when its batch is done."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from spinenet_tf._files.appending import append_lines, complete_lines
from spinenet_tf._files.writing import write_whole

SETTINGS, BAD_IMAGES = "settings.json", "bad_images.jsonl"


class ResultsFolder:
    """A folder with a file of results, the images that could not be read, and the settings that both were made with.

    A line of results is {"image": name, ...}, one of bad images {"image": name, "error": message}. A process that is
    killed loses the batches that are not done; an incomplete last line does not count.
    """

    def __init__(self, folder: Path, name: str, settings: Mapping[str, Any], resume: bool, overwrite: bool):
        """Begin the folder, or continue it with `resume`; bad images are then tried again.

        Raises:
            FileNotFoundError: there is nothing to continue.
            ValueError: the folder exists and neither option is set, or it was made with other settings.
        """
        self.folder, self.path, self._bad_path = folder, folder / name, folder / BAD_IMAGES
        if resume:
            self._check(settings)
        elif folder.exists() and not overwrite:
            raise ValueError(f"{folder} exists. Pass --resume to continue it, or --overwrite to write into it.")
        else:
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(folder / SETTINGS, json.dumps(settings, indent=1))
            self.path.write_bytes(b"")
        self._bad_path.unlink(missing_ok=True)
        self.done = frozenset(row["image"] for row in self.rows())

    def add(self, rows: Sequence[Mapping[str, Any]], bad: Mapping[str, str]) -> None:
        """Append the results of a batch, and the error messages of its bad images by name."""
        append_lines(self.path, [json.dumps(row) for row in rows])
        append_lines(self._bad_path, [json.dumps({"image": name, "error": text}) for name, text in bad.items()])

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the results, also those of an earlier process."""
        return map(json.loads, complete_lines(self.path))

    def _check(self, settings: Mapping[str, Any]) -> None:
        file = self.folder / SETTINGS
        if not file.is_file():
            raise FileNotFoundError(f"There is nothing to continue in {self.folder}: it has no {SETTINGS}.")
        old = json.loads(file.read_text(encoding="utf-8"))
        if differing := [key for key, value in settings.items() if old.get(key) != value]:
            key = differing[0]
            raise ValueError(
                f"{self.folder} was made with another {key}: {old.get(key)!r}. Received: {settings[key]!r}"
            )
