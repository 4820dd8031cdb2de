"""Read untrusted COCO JSON annotations, and write them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import cache, partial
from pathlib import Path

from spinenet_tf._files.progress import Track, untracked
from spinenet_tf._files.writing import new_folder
from spinenet_tf.data.dataset import DataError, DetectionDataset
from spinenet_tf.data.files import find_inside, inside
from spinenet_tf.data.formats.annotations import Annotations, Entry, is_int64, plain, to_dataset
from spinenet_tf.data.formats.exporters import Notes, read_annotation, read_category, read_image, with_ids
from spinenet_tf.data.problems import Place, Problems

LISTS = ("images", "annotations", "categories")
_LIST_OF = {"image": "images", "annotation": "annotations", "category": "categories"}


def read_coco(annotations: str | Path, images: str | Path, problems: Problems | None = None) -> DetectionDataset:
    """Read a COCO annotation file and its image folder into a data set: see `to_dataset`.

    Raises:
        DataError: as `to_dataset` does, or a file is missing or unreadable, the JSON is not COCO, or a file name is
            missing from the image folder or leads out of it.
    """
    return to_dataset(load_coco(annotations, images, problems), problems)


def load_coco(annotations: str | Path, images: str | Path, problems: Problems | None = None) -> Annotations:
    """Read a COCO annotation file, without checking its entries.

    Unambiguous deviations from COCO that some exporters write are corrected and reported: see `exporters`.

    Raises:
        DataError: a file or folder is missing or unreadable, or the JSON is not COCO.
    """
    annotations, images = Path(annotations), Path(images)
    content = read_json(annotations, LISTS)
    if not images.is_dir():
        raise DataError(f"The image folder does not exist. Received: images={images}")
    problems = problems or Problems()
    root, content = images.resolve(), content | _understood(annotations, content, images, problems)
    return Annotations(
        name=annotations.stem,
        source=annotations,
        images=content["images"],
        annotations=content["annotations"],
        categories=content["categories"],
        find_image=partial(_find_image, root, problems.max_pixels),
        place=_places(annotations, content),
        extra={key: value for key, value in content.items() if key not in LISTS},
    )


def _find_image(root: Path, max_pixels: int, entry: Entry) -> Path:
    """Return an image's file; if `exporters` could not read its size, raise the reason."""
    from spinenet_tf.data.images import read_size

    file = find_inside(root, entry.get("file_name"))
    if entry.get("height") is None or entry.get("width") is None:
        read_size(file, max_pixels)
    return file


def _understood(file: Path, content: Entry, images: Path, problems: Problems) -> Entry:
    """Return the three lists with the deviations of exporters corrected."""
    from spinenet_tf.data.images import read_size

    place, notes, size_of = _places(file, content), Notes(), partial(read_size, max_pixels=problems.max_pixels)
    root, prefixes = images.resolve(), ("images/", f"{images.name}/")
    categories = [read_category(entry, partial(place, "category", entry), notes) for entry in content["categories"]]
    pictures = [
        read_image(entry, partial(place, "image", entry), notes, root, prefixes, size_of) for entry in content["images"]
    ]
    whole = (entry for entry in pictures if all(is_int64(entry.get(key)) for key in ("id", "height", "width")))
    sizes = {entry["id"]: (entry["height"], entry["width"]) for entry in whole}
    annotations = [
        read_annotation(entry, partial(place, "annotation", entry), notes, sizes) for entry in content["annotations"]
    ]
    by_position = {id(entry): f"annotation at {number}" for number, entry in enumerate(annotations)}
    numbered = with_ids(annotations, lambda entry: Place(file, by_position[id(entry)]), notes)
    notes.report(problems)
    return {"images": pictures, "annotations": numbered, "categories": categories}


def _places(file: Path, content: Entry) -> Callable[[str, Entry], Place]:
    """Return a function that locates an entry by its id, or without a valid id by its position from 0."""

    @cache
    def positions(noun: str) -> dict[int, int]:
        return {id(entry): number for number, entry in enumerate(content[_LIST_OF[noun]])}

    def place(noun: str, entry: Entry) -> Place:
        key, at = entry.get("id"), entry.get("_at")
        if isinstance(at, Place):  # the reader assigned this entry's id
            return at
        return Place(file, f"{noun} {key}" if is_int64(key) else f"{noun} at {positions(noun)[id(entry)]}")

    return place


def read_json(path: Path, lists: Iterable[str]) -> Entry:
    """Read a JSON object in which each of `lists` is a list of objects; raise DataError for anything else."""
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
            raise DataError(f"{path}: not a COCO file: '{key}' has an entry that is not an object")
    return content


def write_coco(read: Annotations, folder: str | Path, track: Track = untracked) -> Path:
    """Write `annotations.json` and `images/` atomically into a new folder; return the JSON file.

    Entries are written unchanged, and images keep their bytes and names. `track` reports progress.

    Raises:
        DataError: an entry or an image is invalid, or two images have the same name.
        FileExistsError: the folder exists.
    """
    from spinenet_tf.data.input.pipeline import check_images

    check_images(to_dataset(read))
    with new_folder(Path(folder)) as workplace:
        root = (workplace / "images").resolve()
        root.mkdir()
        for entry in track(read.images, len(read.images), "Writing"):
            with Problems().at(read.place("image", entry)):
                write_new(inside(root, entry["file_name"]), read.find_image(entry).read_bytes())
        content = {key: [plain(entry) for entry in getattr(read, key)] for key in LISTS}
        (workplace / "annotations.json").write_text(json.dumps({**read.extra, **content}))
    return Path(folder) / "annotations.json"


def write_new(path: Path, content: bytes) -> None:
    """Write a file and its folder; raise DataError if it exists."""
    if path.exists():
        raise DataError(f"another image has the same file name. Received: file_name={path.name!r}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
