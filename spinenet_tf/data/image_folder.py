"""Read a folder of class folders: images of one class each, for classification."""

from __future__ import annotations

from pathlib import Path

from spinenet_tf.data.dataset import IMAGE_SUFFIXES, ClassificationDataset, ClassificationExample, DataError
from spinenet_tf.data.files import check_inside, files_in


def read_image_folder(folder: str | Path) -> ClassificationDataset:
    """Read `folder/CLASS/**/IMAGE`: classes are numbered in the order of their folders' names, 0..C-1.

    Hidden files and folders, and files that do not end in one of `IMAGE_SUFFIXES`, are passed over. Images themselves
    are not opened.

    Raises:
        DataError: no such folder, no class folders in it, a class folder without images, or a link that leads out
            of the folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder")
    classes = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not classes:
        raise DataError(f"{folder}: it holds no class folders")
    for entry in classes:
        check_inside(entry, folder)
    examples = [ClassificationExample(path, label) for label, entry in enumerate(classes) for path in _images_of(entry)]
    return ClassificationDataset(folder.name, tuple(entry.name for entry in classes), tuple(examples))


def _images_of(folder: Path) -> list[Path]:
    found = images_in(folder)
    if not found:
        raise DataError(f"{folder}: the class folder holds no images ({', '.join(IMAGE_SUFFIXES)})")
    return found


def images_in(folder: Path) -> list[Path]:
    """Return the images of a folder and the folders inside it, as `files.files_in` does."""
    return [path for path in files_in(folder) if path.suffix.lower() in IMAGE_SUFFIXES]
