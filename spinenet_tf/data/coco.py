"""Read COCO JSON annotations, trusting nothing in them, and write them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

from spinenet_tf.data.annotations import Annotations, Entry, Track, is_int64, plain, to_dataset
from spinenet_tf.data.dataset import DataError, DetectionDataset
from spinenet_tf.data.files import find_inside, inside
from spinenet_tf.data.problems import Place, Problems
from spinenet_tf.writing import new_folder

LISTS = ("images", "annotations", "categories")
_LIST_OF = {"image": "images", "annotation": "annotations", "category": "categories"}


def read_coco(annotations: str | Path, images: str | Path, problems: Problems | None = None) -> DetectionDataset:
    """Read a COCO annotation file and the folder that holds its images, as `to_dataset` makes a data set of them.

    Raises:
        DataError: naming the file and the annotation, image or category at fault: as `to_dataset` does, and for a
            missing or unreadable file, JSON that is not COCO, and file names that are missing from the image folder
            or lead out of it.
    """
    return to_dataset(load_coco(annotations, images), problems)


def load_coco(annotations: str | Path, images: str | Path) -> Annotations:
    """Read a COCO annotation file, whose entries are not checked yet.

    Raises:
        DataError: a missing or unreadable file or folder, or JSON that is not COCO.
    """
    annotations, images = Path(annotations), Path(images)
    content = read_json(annotations, LISTS)
    if not images.is_dir():
        raise DataError(f"The image folder does not exist. Received: images={images}")
    root = images.resolve()
    return Annotations(
        name=annotations.stem,
        source=annotations,
        images=content["images"],
        annotations=content["annotations"],
        categories=content["categories"],
        find_image=lambda entry: find_inside(root, entry.get("file_name")),
        place=_places(annotations, content),
        extra={key: value for key, value in content.items() if key not in LISTS},
    )


def _places(file: Path, content: Entry) -> Callable[[str, Entry], Place]:
    """Return what tells an entry's place: by its id, or where that is none by its position, from 0."""

    @cache
    def positions(noun: str) -> dict[int, int]:
        return {id(entry): number for number, entry in enumerate(content[_LIST_OF[noun]])}

    def place(noun: str, entry: Entry) -> Place:
        key = entry.get("id")
        return Place(file, f"{noun} {key}" if is_int64(key) else f"{noun} at {positions(noun)[id(entry)]}")

    return place


def read_json(path: Path, lists: Iterable[str]) -> Entry:
    """Read a JSON object in which each of `lists` is a list of objects; raises DataError if it is not that."""
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not a JSON file ({error})") from None
    for key in lists:
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise DataError(f"{path}: not a COCO file: it has no list named '{key}'")
        if not all(isinstance(entry, dict) for entry in content[key]):
            raise DataError(f"{path}: not a COCO file: '{key}' holds something that is not an object")
    return content


def write_coco(read: Annotations, folder: str | Path, track: Track = iter) -> Path:
    """Write `annotations.json` and `images/` into a new folder, complete or not at all; return the JSON file.

    Entries are written as they were read, and images keep their bytes and names. `track` wraps the list of images, to
    show progress.

    Raises:
        DataError: an entry or an image is at fault, or two images have the same name.
        FileExistsError: the folder exists.
    """
    from spinenet_tf.data.pipeline import check_images

    check_images(to_dataset(read))
    with new_folder(Path(folder)) as workplace:
        root = (workplace / "images").resolve()
        root.mkdir()
        for entry in track(read.images):
            with Problems().at(read.place("image", entry)):
                _write_new(inside(root, entry["file_name"]), read.find_image(entry).read_bytes())
        content = {key: [plain(entry) for entry in getattr(read, key)] for key in LISTS}
        (workplace / "annotations.json").write_text(json.dumps({**read.extra, **content}))
    return Path(folder) / "annotations.json"


def _write_new(path: Path, content: bytes) -> None:
    if path.exists():
        raise DataError(f"another image has the same file name. Received: file_name={path.name!r}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
