"""Files that a data set names, or that lie in its folders: none of them lies outside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

from spinenet_tf.data.dataset import DataError, ImageError


def find_inside(root: Path, name: object) -> Path:
    """Return the file `name` of the folder `root`, which is resolved.

    Raises:
        DataError: the name leads out of the folder, or can be no file's.
        ImageError: there is no such file.
    """
    path = inside(root, name)
    if not path.is_file():
        raise ImageError(f"the image folder has no such file. Received: file_name={name!r}")
    return path


def inside(root: Path, name: object) -> Path:
    """Return the path of `name` in the folder `root`, refusing every way out of that folder by a DataError."""
    if not isinstance(name, str) or not name or "\0" in name:
        raise DataError(f"has no usable file name. Received: file_name={name!r}")
    # Both flavours, so that a file is refused or accepted alike on every system.
    flavours = (PurePosixPath(name), PureWindowsPath(name))
    if any(p.anchor or ".." in p.parts for p in flavours) or not (path := resolved(root / name)).is_relative_to(root):
        raise DataError(f"the file name leads out of the image folder. Received: file_name={name!r}")
    return path


def resolved(path: Path) -> Path:
    """Follow all links of a path; raises DataError where they lead in circles, or the system takes no such name."""
    try:
        path = path.resolve()
        path.is_file()
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"no usable path ({error!r:.100}). Received: {str(path)!r:.200}") from None
    return path


def files_in(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder and the folders inside it, in order of their names, without hidden ones.

    Raises:
        DataError: a link leads out of the folder. The folder itself may be a link.
    """
    for path in sorted(folder.rglob("*")):  # which enters no folder by a link
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
    """Return the content of a text file; raises DataError naming it where it cannot be read, or is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text file ({error})") from None
