"""Files that a data set names, or that lie in its folders: none of them lies outside."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path, PurePosixPath, PureWindowsPath

from spinenet_tf.data.dataset import IMAGE_SUFFIXES, DataError, ImageError


def find_inside(root: Path, *names: object) -> Path:
    """Return the first of `names` that is a file of the folder `root`, which is resolved.

    A name also stands for the file whose name is the same in another Unicode normalization: archives made on a Mac hold
    decomposed letters.

    Raises:
        DataError: a name leads out of the folder, or cannot be a file's.
        ImageError: there is no such file.
    """
    for name in names:
        path = inside(root, name)
        if not path.is_file():
            path = as_stored(root, path)
        if path.is_file():
            return path
    raise ImageError(f"the image folder has no such file. Received: file_name={names[0]!r}")


def inside(root: Path, name: object) -> Path:
    """Return the path of `name` in the folder `root`, refusing every way out of that folder by a DataError."""
    if not isinstance(name, str) or not name or "\0" in name:
        raise DataError(f"has no usable file name. Received: file_name={name!r}")
    if leads_out(name) or not (path := resolved(root / name)).is_relative_to(root):
        raise DataError(f"the file name leads out of the image folder. Received: file_name={name!r}")
    return path


def leads_out(name: str) -> bool:
    """Tell whether a name itself, its links aside, is one of a file outside of the folder that it is relative to."""
    # Both flavors, so that a file is refused or accepted alike on every system.
    flavors = (PurePosixPath(name), PureWindowsPath(name))
    return any(flavor.anchor or ".." in flavor.parts for flavor in flavors)


def resolved(path: Path) -> Path:
    """Follow all links of a path; raises DataError where they lead in circles, or the system takes no such name."""
    try:
        path = path.resolve()
        path.is_file()
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"no usable path ({error!r:.100}). Received: {str(path)!r:.200}") from None
    return path


def as_stored(root: Path, path: Path) -> Path:
    """Return the path in `root` whose parts are those of `path` in another Unicode normalization, or `path` itself.

    Both are absolute, and `root` is resolved. Raises DataError if a link leads out of `root` on the way.
    """
    parts = path.relative_to(root).parts
    if all(part.isascii() for part in parts):
        return path
    stored = root
    for part in parts:
        found = _names(stored, stored.stat().st_mtime_ns) if stored.is_dir() else {}
        if (name := found.get(composed(part))) is None:
            return path
        stored = inside(root, (stored / name).relative_to(root).as_posix())  # what was found may be a link
    return stored


@lru_cache(maxsize=64)
def _names(folder: Path, changed: int) -> dict[str, str]:
    """Return the names in a folder by their composed spelling; `changed`, its time, makes a new list after a change."""
    return {composed(entry.name): entry.name for entry in folder.iterdir()}


def images_named(folder: Path, stem: str) -> tuple[str, ...]:
    """Return the names of a folder's images that are `stem` without their suffix, in any Unicode normalization."""
    return _stems(folder, folder.stat().st_mtime_ns).get(composed(stem), ())


@lru_cache(maxsize=64)
def _stems(folder: Path, changed: int) -> dict[str, tuple[str, ...]]:
    """Return the names of a folder's images by what they are without their suffix; `changed` is as above."""
    found: dict[str, tuple[str, ...]] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in IMAGE_SUFFIXES:
            stem = composed(path.stem)
            found[stem] = (*found.get(stem, ()), path.name)
    return found


def composed(name: str) -> str:
    """Return a name in the Unicode normalization in which names are compared."""
    return unicodedata.normalize("NFC", name)


def file_in(folder: Path, *names: str) -> Path | None:
    """Return the first of `names` that is a file of the folder, None if there is none.

    Raises:
        DataError: it is a link that leads out of the folder. The folder itself may be a link.
    """
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if path is not None and path.is_symlink():
        check_inside(path, folder)
    return path


def files_in(folder: Path, pattern: str = "**/*") -> Iterator[Path]:
    """Yield the files of a folder, and of the folders inside it, in order of their names, without hidden ones.

    Raises:
        DataError: a link leads out of the folder. The folder itself may be a link.
    """
    for path in sorted(folder.glob(pattern)):  # which enters no folder by a link
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        if path.is_symlink():
            check_inside(path, folder)
        if path.is_file():
            yield path


def check_inside(path: Path, folder: Path) -> None:
    """Raise DataError if `path`, its links followed, lies outside of the folder, which may be a link itself."""
    if not resolved(path).is_relative_to(resolved(folder)):
        raise DataError(f"{path}: the link leads out of the folder {folder}")


def read_text(path: Path) -> str:
    """Return the content of a text file without its byte-order mark.

    Raises:
        DataError: naming the file: it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text file ({error})") from None


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file, stripped, without blank lines at the end; raises as `read_text` does."""
    return [line.strip() for line in read_text(path).rstrip().splitlines()]
