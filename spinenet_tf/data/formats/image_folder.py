"""Read a classification data set from a folder with one subfolder per class."""

from __future__ import annotations

from pathlib import Path

from spinenet_tf.data.dataset import IMAGE_SUFFIXES, ClassificationDataset, ClassificationExample, DataError
from spinenet_tf.data.files import check_inside, composed, files_in
from spinenet_tf.data.problems import Place, Problems

DETECTION_SETS = (
    "a COCO file (*.json), a folder with annotations.json and images, TFRecord files, YOLO's data.yaml, obj.data, "
    "folder with images and labels, or images with labels beside them, a Pascal VOC folder, tfds:NAME"
)
LOOKED_FOR = f"A detection data set would be {DETECTION_SETS}"
_SPLITS = ("train", "val", "valid", "validation", "test")
# Folders, and files beside images, that suggest boxes rather than classes.
_PARTS = ("images", "labels", "annotations", "jpegimages", "obj_train_data", *_SPLITS)
_LABELS = (".txt", ".xml", ".json")


def read_image_folder(folder: str | Path, problems: Problems | None = None) -> ClassificationDataset:
    """Read `folder/CLASS/**/IMAGE`; classes are numbered 0..C-1 in the order of the folder names.

    Hidden files and folders, and files without one of `IMAGE_SUFFIXES`, are skipped. Image files are not opened. If the
    folder looks like a detection data set, this is reported to `problems`, or logged.

    Raises:
        DataError: the folder does not exist or has no class folders, a class folder has no images, or a link leads out
            of the folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder")
    classes = [entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    if not classes:
        raise DataError(f"{folder}: it has no class folders")
    classes.sort(key=lambda entry: composed(entry.name))
    names = [composed(entry.name) for entry in classes]
    for entry, name, before in zip(classes, names, [None, *names], strict=False):
        check_inside(entry, folder)
        if name == before:
            raise DataError(f"{folder}: two folder names differ only in Unicode normalization. Received: {name!r}")
    examples = [ClassificationExample(path, label) for label, entry in enumerate(classes) for path in _images_of(entry)]
    if reason := _looks_otherwise(classes, {example.path for example in examples}):
        (problems or Problems()).warn(Place(folder), f"{reason}. {LOOKED_FOR}")
    return ClassificationDataset(folder.name, tuple(names), tuple(examples))


def _images_of(folder: Path) -> list[Path]:
    found = images_in(folder)
    if not found:
        raise DataError(f"{folder}: the class folder has no images ({', '.join(IMAGE_SUFFIXES)}). {LOOKED_FOR}")
    return found


def _looks_otherwise(classes: list[Path], images: set[Path]) -> str | None:
    """Return the reason why the folders may not be classes, or None."""
    named = [entry.name for entry in classes if entry.name.lower() in _PARTS]
    if named:
        return f"folders named {', '.join(map(repr, named))} are read as classes"
    stems = {image.with_suffix("") for image in images}
    others = (file for entry in classes for file in files_in(entry) if file.suffix.lower() in _LABELS)
    for file in others:
        if file.with_suffix("") in stems or file.name.endswith(".coco.json"):
            return f"folders are read as classes, but one contains {file.relative_to(file.parents[1])}"
    return None


def images_in(folder: Path) -> list[Path]:
    """Return the images in a folder and its subfolders: see `files.files_in`."""
    return [path for path in files_in(folder) if path.suffix.lower() in IMAGE_SUFFIXES]
