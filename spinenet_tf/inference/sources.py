"""Find the images and videos that a user names: files, folders of any depth, patterns and lists of these."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from spinenet_tf._files.messages import some_of
from spinenet_tf.data.dataset import IMAGE_SUFFIXES, DataError

VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm")


@dataclass(frozen=True)
class Sources:
    """The images and videos that were found, each once."""

    files: tuple[Path, ...]
    folder: Path  # names are relative to it
    skipped: tuple[str, ...] = ()  # names of other files in folders, except hidden ones

    def name_of(self, file: Path) -> str:
        """Return the name of a file in results: its path relative to `folder`, with slashes."""
        return Path(os.path.abspath(file)).relative_to(self.folder).as_posix()


def find_sources(given: Sequence[str | Path]) -> Sources:
    """Find all images and videos of files, folders and patterns such as `photos/**/*.jpg`.

    A folder is searched at any depth, except for hidden files and folders, in the order of names. A file that is given
    itself is used whatever its name ends with. Names are relative to the folder that was given, or else to the folder
    that all files are in.

    Raises:
        FileNotFoundError: a file or folder does not exist, or no file matches a pattern.
        DataError: there are no images and videos; the message names the files that were skipped.
    """
    found = [path for one in given for path in _expand(str(one))]
    named = {os.path.abspath(one) for one in given}
    kept = {os.path.abspath(path): path for path in found if os.path.abspath(path) in named or _is_source(path)}
    folder = _common_folder(given, list(kept))
    skipped = sorted({os.path.relpath(path, folder) for path in found if os.path.abspath(path) not in kept})
    if not kept:
        others = f"It has {some_of(skipped)}" if skipped else "It has no other files"
        suffixes = ", ".join((*IMAGE_SUFFIXES, *VIDEO_SUFFIXES))
        raise DataError(f"{some_of(map(str, given)) or 'The list'} has no images or videos ({suffixes}). {others}.")
    return Sources(tuple(kept.values()), folder, tuple(skipped))


def is_video(path: Path) -> bool:
    """Return whether a file is a video, by its name."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def _expand(given: str) -> Iterator[Path]:
    """Yield the files of a file, a folder or a pattern."""
    if os.path.isdir(given):
        yield from _walk(given)
    elif os.path.exists(given):
        yield Path(given)
    elif glob.has_magic(given):
        matches = sorted(glob.glob(given, recursive=True))
        if not matches:
            raise FileNotFoundError(f"No file matches {given}.")
        for match in matches:
            yield from _walk(match) if os.path.isdir(match) and "**" not in given else [Path(match)]
    else:
        raise FileNotFoundError(f"There is no image or folder {given}.")


def _walk(folder: str) -> Iterator[Path]:
    """Yield the files in a folder and its subfolders, also behind links, but no folder twice."""
    seen: set[str] = set()
    for home, folders, names in os.walk(folder, followlinks=True):
        seen.add(os.path.realpath(home))
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and os.path.realpath(os.path.join(home, name)) not in seen
        )
        yield from (Path(home, name) for name in sorted(names) if not name.startswith("."))


def _is_source(path: Path) -> bool:
    return path.suffix.lower() in (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES) and not path.is_dir()


def _common_folder(given: Sequence[str | Path], files: Sequence[str]) -> Path:
    if len(given) == 1 and os.path.isdir(given[0]):
        return Path(os.path.abspath(given[0]))
    return Path(os.path.commonpath([os.path.dirname(file) for file in files])) if files else Path.cwd()
