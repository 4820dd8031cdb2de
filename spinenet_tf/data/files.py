"""Find files of a data set, and reject paths and links that lead outside its folders."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path, PurePosixPath, PureWindowsPath

from spinenet_tf.data.dataset import IMAGE_SUFFIXES, DataError, ImageError


def find_inside(root: Path, *names: object) -> Path:
    """Return the first of `names` that is a file in the folder `root`, which must be resolved.

    A name also matches a file with the same name in another Unicode normalization, since archives made on macOS contain
    decomposed letters.

    Raises:
        DataError: a name leads out of the folder, or is not a valid file name.
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
    """Return the resolved path of `name` in the folder `root`; raise DataError if it leads out of the folder."""
    if not isinstance(name, str) or not name or "\0" in name:
        raise DataError(f"has no usable file name. Received: file_name={name!r}")
    if leads_out(name) or not (path := resolved(root / name)).is_relative_to(root):
        raise DataError(f"the file name leads out of the image folder. Received: file_name={name!r}")
    return path


def leads_out(name: str) -> bool:
    """Return whether a relative name, without following links, leads out of its folder."""
    # Check both flavors, so that every operating system accepts the same names.
    flavors = (PurePosixPath(name), PureWindowsPath(name))
    return any(flavor.anchor or ".." in flavor.parts for flavor in flavors)


def resolved(path: Path) -> Path:
    """Resolve all links of a path; raise DataError if they form a loop or the system rejects the name."""
    try:
        path = path.resolve()
        path.is_file()
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"not a valid path ({error!r:.100}). Received: {str(path)!r:.200}") from None
    return path


def as_stored(root: Path, path: Path) -> Path:
    """Return the existing path in `root` that equals `path` up to Unicode normalization, or `path` itself.

    Both are absolute, and `root` is resolved. Raises DataError if a link on the way leads out of `root`.
    """
    parts = path.relative_to(root).parts
    if all(part.isascii() for part in parts):
        return path
    stored = root
    for part in parts:
        found = _names(stored, stored.stat().st_mtime_ns) if stored.is_dir() else {}
        if (name := found.get(composed(part))) is None:
            return path
        stored = inside(root, (stored / name).relative_to(root).as_posix())  # it may be a link
    return stored


@lru_cache(maxsize=64)
def _names(folder: Path, changed: int) -> dict[str, str]:
    """Return composed name -> name in a folder; `changed` (the folder's mtime) invalidates the cache."""
    return {composed(entry.name): entry.name for entry in folder.iterdir()}


def images_named(folder: Path, stem: str) -> tuple[str, ...]:
    """Return the names of the images in a folder that have this stem, in any Unicode normalization."""
    return _stems(folder, folder.stat().st_mtime_ns).get(composed(stem), ())


@lru_cache(maxsize=64)
def _stems(folder: Path, changed: int) -> dict[str, tuple[str, ...]]:
    """Return composed stem -> image names in a folder; `changed` is as above."""
    found: dict[str, tuple[str, ...]] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in IMAGE_SUFFIXES:
            stem = composed(path.stem)
            found[stem] = (*found.get(stem, ()), path.name)
    return found


def composed(name: str) -> str:
    """Return a name in the Unicode normalization that is used for comparisons."""
    return unicodedata.normalize("NFC", name)


def file_in(folder: Path, *names: str) -> Path | None:
    """Return the first of `names` that is a file in the folder, or None.

    Raises:
        DataError: it is a link that leads out of the folder. The folder itself may be a link.
    """
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if path is not None and path.is_symlink():
        check_inside(path, folder)
    return path


def files_in(folder: Path, pattern: str = "**/*") -> Iterator[Path]:
    """Yield the files in a folder and its subfolders, sorted by name, without hidden ones.

    Raises:
        DataError: a link leads out of the folder. The folder itself may be a link.
    """
    for path in sorted(folder.glob(pattern)):  # does not follow links to folders
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        if path.is_symlink():
            check_inside(path, folder)
        if path.is_file():
            yield path


def check_inside(path: Path, folder: Path) -> None:
    """Raise DataError if `path`, with links resolved, lies outside the folder, which may be a link itself."""
    if not resolved(path).is_relative_to(resolved(folder)):
        raise DataError(f"{path}: the link leads out of the folder {folder}")


def read_text(path: Path) -> str:
    """Return the content of a text file without its byte-order mark.

    Raises:
        DataError: the file cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text file ({error})") from None


def read_lines(path: Path) -> list[str]:
    """Return the stripped lines of a text file, without trailing blank lines; raises as `read_text` does."""
    return [line.strip() for line in read_text(path).rstrip().splitlines()]
