"""Find the label files of YOLO images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from spinenet_tf.data.dataset import DataError
from spinenet_tf.data.files import as_stored, check_inside, composed, read_lines, resolved
from spinenet_tf.data.formats.image_folder import images_in
from spinenet_tf.data.formats.yolo_rows import read_row

CLASSES = "classes.txt"  # one name per line, beside the labels or in the parent folder


def label_file(image: Path) -> Path:
    """Return the path of an image's labels: the last folder `images` is replaced by `labels`; otherwise beside it."""
    parts = list(image.parts)
    if "images" in parts[:-1]:
        parts[len(parts) - 2 - parts[-2::-1].index("images")] = "labels"
    return Path(*parts).with_suffix(".txt")


def label_files(image: Path) -> tuple[Path, ...]:
    """Return the possible label files of an image: in the label folder, then beside it."""
    return label_file(image), image.with_suffix(".txt")


def find_labels(image: Path) -> Path | None:
    """Return the label file of an image, or None.

    Its name may have another Unicode normalization than the image's. Raises DataError as `check_labels` does.
    """
    for file in label_files(image):
        if file.is_file() or (file := _as_stored(file)).is_file():
            return file
    return None


def _as_stored(file: Path) -> Path:
    folder = _folder(file)
    name = file.relative_to(folder)
    if str(name).isascii() or not folder.is_dir():
        return file
    root = resolved(folder)
    return folder / as_stored(root, root / name).relative_to(root)


def check_labels(file: Path) -> None:
    """Raise DataError if the file is a link that leads out of its `labels` folder, or of its own folder without one."""
    check_inside(file, _folder(file))


def _folder(file: Path) -> Path:
    return next((above for above in file.parents if above.name == "labels"), file.parent)


def has_labels_folder(folder: Path) -> bool:
    """Return whether a folder has `images` and `labels`."""
    return (folder / "images").is_dir() and (folder / "labels").is_dir()


def has_labels(folder: Path) -> bool:
    """Return whether the first non-empty text file that matches an image in a folder is a label file."""

    @cache
    def texts(parent: Path) -> list[dict[str, Path]]:
        places = dict.fromkeys((label_file(parent / "x.jpg").parent, parent))
        files = ((file for file in place.glob("*.txt") if not file.is_symlink()) for place in places)
        return [{composed(file.stem): file for file in found} for found in files]

    stems = ((composed(image.stem), image.parent) for image in images_in(folder))
    found = (files[stem] for stem, parent in stems for files in texts(parent) if stem in files)
    return next((_is_labels(file) for file in found if file.stat().st_size), False)


def orphans(folders: Iterable[Path], images: Iterable[Path]) -> Iterator[Path]:
    """Yield the label files of these image folders that belong to none of the images."""
    known = {composed(str(file)) for image in images for file in label_files(image)}
    for folder in folders:
        own = label_file(folder / "x.jpg").parent
        for place in dict.fromkeys((own, folder)):
            for file in sorted(place.rglob("*.txt")):
                # Image folders may have other text files.
                if composed(str(file)) not in known and file.name != CLASSES and (place != folder or _is_labels(file)):
                    yield file


def _is_labels(file: Path) -> bool:
    """Return whether the first line of a file is a label row; False for a link."""
    try:
        line = "" if file.is_symlink() else next(filter(None, read_lines(file)), "")
        return bool(line) and read_row(line) is not None
    except DataError:
        return False
