"""Read Pascal VOC annotations, with one XML file per image."""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from spinenet_tf.data.dataset import DataError, DetectionDataset
from spinenet_tf.data.files import composed, file_in, files_in, read_lines
from spinenet_tf.data.formats.annotations import Annotations, Entry, to_dataset
from spinenet_tf.data.formats.voc_images import find_image
from spinenet_tf.data.images import read_size
from spinenet_tf.data.problems import Place, Problems

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def read_voc(folder: str | Path, split: str | None = None, problems: Problems | None = None) -> DetectionDataset:
    """Read a Pascal VOC data set: see `to_dataset`.

    `folder` has `Annotations/*.xml` and images in `JPEGImages` (or `images`), or all files in one folder. With `split`,
    only the images listed in `ImageSets/Main/SPLIT.txt` are read. Classes are the names in all XML files of the folder,
    so that splits agree; category ids count from 1 in the order of the names, image ids in the order of the files, over
    all splits.

    The XML file names the image: see `voc_images.find_image`. If it has no image size, the image's header is read.

    VOC's corners are pixels counted from 1, both inside the box: (1, 1, W, H) covers the whole image. An object marked
    `difficult` is read as a crowd: as in VOC, evaluation counts it neither as detected nor as missed, and it is not
    trained on.

    Raises:
        DataError: as `to_dataset` does, or a file is missing or not VOC XML, a link leads out of the folder, or a file
            declares a document type, which VOC does not use and whose entities can expand exponentially. The message
            names the file and the object.
    """
    return to_dataset(load_voc(folder, split, problems), problems)


def load_voc(folder: str | Path, split: str | None = None, problems: Problems | None = None) -> Annotations:
    """Read a Pascal VOC data set, without checking its entries; raises as `read_voc` does."""
    folder, problems = Path(folder), problems or Problems()
    pictures = next((f for f in (folder / "JPEGImages", folder / "images") if f.is_dir()), folder).resolve()
    xml_folder = folder / "Annotations" if (folder / "Annotations").is_dir() else folder
    files = list(files_in(xml_folder, "*.xml"))
    if not files:
        raise DataError(f"{xml_folder}: there are no XML files")
    chosen = _chosen(folder, split, {file.stem for file in files}, problems)
    images: list[Entry] = []
    annotations: list[Entry] = []
    names: set[str] = set()
    for number, file in enumerate(files, start=1):
        with problems.at(Place(file)):
            root = parse_xml(file)
            names |= {name for name in (_text(found, "name") for found in root.iterfind("object")) if name}
            if chosen is None or file.stem in chosen:
                images.append(_image(root, number, file, pictures, problems))
                annotations += _objects(root, number, file, problems)
    numbers = {name: number for number, name in enumerate(sorted(names), start=1)}
    for number, entry in enumerate(annotations, start=1):
        entry |= {"id": number, "category_id": numbers[entry["_name"]]}
    return Annotations(
        name=folder.name if split is None else f"{folder.name}-{split}",
        source=folder,
        images=images,
        annotations=annotations,
        categories=[{"id": number, "name": name} for name, number in numbers.items()],
        find_image=lambda entry: entry["_file"],
        place=lambda noun, entry: entry.get("_at") or Place(folder, f"{noun} {entry.get('name')}"),
    )


def parse_xml(file: Path) -> Element:
    """Parse an XML file; raise DataError if it is not XML, or declares a document type, which may have entities."""

    def refuse(*_: object) -> None:
        raise DataError("it declares a document type, which VOC does not use")

    builder, parser = TreeBuilder(), expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = builder.start, builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(file.read_bytes(), True)
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})") from None
    except (expat.ExpatError, LookupError, ValueError) as error:  # the last two for encodings
        raise DataError(f"not XML ({error})") from None
    return builder.close()


def _chosen(folder: Path, split: str | None, stems: set[str], problems: Problems) -> set[str] | None:
    """Return the names in a split's list, or None for all."""
    if split is None:
        return None
    name = f"ImageSets/Main/{split}.txt"
    listing = file_in(folder, name)
    if listing is None:
        raise DataError(f"{folder / name}: there is no such list of images")
    known = {composed(stem): stem for stem in stems}
    chosen: set[str] = set()
    for number, line in enumerate(read_lines(listing), start=1):
        with problems.at(Place(listing, f"line {number}")):
            text = composed(line)
            names = (text, text.rpartition(" ")[0].rstrip(), *text.split()[:1])  # a flag may follow a name
            found = [known[name] for name in names if name in known][:1]
            if line and not found:
                raise DataError(f"this image has no annotations. Received: {line.split()[0]!r}")
            chosen.update(found)
    return chosen


def _image(root: Element, number: int, file: Path, pictures: Path, problems: Problems) -> Entry:
    filename, place = _text(root, "filename"), Place(file)
    name, path = find_image(pictures, filename, file.stem)
    if name != filename:
        message = f"the file name is not an image in its folder; {name} is read. Received: filename={filename!r}"
        problems.note(place, message)
    height, width = (_whole(root, f"size/{side}") for side in ("height", "width"))
    if not height or not width:
        size = read_size(path, problems.max_pixels)
        height, width = height or size[0], width or size[1]
        message = f"it has no image size, which is {size[0]} x {size[1]} (height x width)"
        problems.note(place, message)
    return {"id": number, "file_name": name, "height": height, "width": width, "_file": path, "_at": place}


def _objects(root: Element, image_id: int, file: Path, problems: Problems) -> list[Entry]:
    entries = []
    for k, found in enumerate(root.iterfind("object")):
        place = Place(file, f"object {k}")
        with problems.at(place):
            name, difficult = _text(found, "name"), _text(found, "difficult") or "0"
            if not name:
                raise DataError("it has no name")
            if difficult.lower() == "unspecified":
                problems.note(place, f"it is read as not difficult. Received: difficult={difficult!r}")
                difficult = "0"
            if difficult not in ("0", "1"):
                raise DataError(f"difficult must be 0 or 1. Received: difficult={difficult!r}")
            left, top, right, bottom = (_number(found, f"bndbox/{corner}") for corner in _CORNERS)
            box = [left - 1, top - 1, right - left + 1, bottom - top + 1]
            entries.append({"image_id": image_id, "bbox": box, "iscrowd": int(difficult), "_name": name, "_at": place})
    return entries


def _text(element: Element, path: str) -> str:
    return (element.findtext(path) or "").strip()


def _number(element: Element, path: str) -> float:
    try:
        return float(_text(element, path))
    except ValueError:
        raise DataError(f"{path} must be a number. Received: {_text(element, path)!r}") from None


def _whole(element: Element, path: str) -> int:
    """Return an integer, or 0 if it is missing."""
    value = _number(element, path) if _text(element, path) else 0.0
    if not value.is_integer():  # also for NaN and infinity
        raise DataError(f"{path} must be an integer. Received: {_text(element, path)!r}")
    return int(value)
