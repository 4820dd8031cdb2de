"""Find the images and class names of a YOLO data set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from spinenet_tf.data.dataset import DataError, ImageError
from spinenet_tf.data.files import file_in, find_inside, read_lines, read_text, resolved
from spinenet_tf.data.formats.annotations import Entry
from spinenet_tf.data.formats.yolo_labels import CLASSES, has_labels, has_labels_folder
from spinenet_tf.data.formats.yolo_lists import names_in_list, read_list
from spinenet_tf.data.formats.yolo_rows import LAST_CLASS, Keypoints
from spinenet_tf.data.problems import Place, Problems

DESCRIBED = ("data.yaml", "obj.data")  # the second is Darknet's, and CVAT's "YOLO 1.1"
LAYOUTS = f"the folders images and labels, images with their labels beside them, or {' or '.join(DESCRIBED)}"
PARTS = ("train", "val", "valid", "validation", "test")
LONGEST = 1_000_000  # characters of a data.yaml


@dataclass(frozen=True)
class Description:
    """The images and class names of one split."""

    folders: list[Path] = field(default_factory=list)  # of images
    files: list[Path] = field(default_factory=list)  # images in lists
    names: dict[int, str] = field(default_factory=dict)  # of classes; empty if unknown
    keypoints: Keypoints | None = None
    split: str | None = None  # None if a whole folder is read


def describe(path: Path, split: str | None, problems: Problems) -> Description:
    """Read a `data.yaml`, an `obj.data` or a folder: see `yolo.read_yolo`."""
    if path.is_dir():
        return _of_folder(path, split, problems)
    if path.suffix == ".data":
        return _of_data(path, split or "train", problems)
    return _of_yaml(path, split or "train", problems)


def has_parts(path: Path) -> bool:
    """Return whether a description file or folder names show that a data set has splits."""
    return not path.is_dir() or is_described(path) or any(_parts(path, PARTS))


def is_described(folder: Path) -> bool:
    """Return whether a folder has a `data.yaml` or an `obj.data`."""
    return any((folder / name).is_file() for name in DESCRIBED)


def _same(split: str) -> tuple[str, ...]:
    """Return all names of a split: tools use three names for validation."""
    return (split, *(name for name in PARTS[1:4] if name != split)) if split in PARTS[1:4] else (split,)


def _of_folder(folder: Path, split: str | None, problems: Problems) -> Description:
    described = file_in(folder, *DESCRIBED)
    if described is not None and (split is not None or not has_labels_folder(folder)):
        return describe(described, split, problems)
    part = folder / "images" if has_labels_folder(folder) else folder
    if described is None and part == folder and not has_labels(folder):
        raise DataError(f"{folder}: a YOLO data set has {LAYOUTS}")
    if split is not None:
        part = next(_parts(folder, _same(split)), folder)
    if split is not None and part == folder:
        raise DataError(f"{folder}: there is neither images/{split} nor {split}. Received: split={split!r}")
    if described is not None and described.suffix == ".yaml":
        content = _yaml(described)
        return Description([part], [], _names(described, content), _keypoints(described, content), split)
    return Description([part], names=_listed_names(folder, part), split=split)


def _parts(folder: Path, names: tuple[str, ...]) -> Iterator[Path]:
    """Yield the existing folders of splits with these names."""
    return (part for name in names for part in (folder / "images" / name, folder / name) if part.is_dir())


def _listed_names(folder: Path, images: Path) -> dict[int, str]:
    """Return the class names in a `classes.txt` or `obj.names`."""
    places = dict.fromkeys((folder, folder / "labels", images))
    names = (str(place.relative_to(folder) / name) for place in places for name in (CLASSES, "obj.names"))
    file = file_in(folder, *names)
    return dict(enumerate(read_lines(file))) if file else {}


def _of_yaml(path: Path, split: str, problems: Problems) -> Description:
    content = _yaml(path)
    key = next((name for name in _same(split) if content.get(name)), split)
    chosen = content.get(key)
    chosen = [chosen] if isinstance(chosen, str) and chosen else chosen
    if not isinstance(chosen, list) or not all(isinstance(part, str) and part for part in chosen):
        raise DataError(f"{path}: the key {split!r} must be a folder of images. Received: {content.get(key)!r:.200}")
    root = _root(path, content)
    parts = [_part(path, root, key, name, problems) for name in chosen]
    return Description(
        [part for part in parts if part.is_dir()],
        [file for part in parts if not part.is_dir() for file in read_list(part, root, problems)],
        _names(path, content),
        _keypoints(path, content),
        split,
    )


def _root(path: Path, content: Entry) -> Path:
    """Return the folder in the key `path` of a data.yaml."""
    named = content.get("path") or ""
    if not isinstance(named, str):
        raise DataError(f"{path}: 'path' must be a folder. Received: {named!r:.200}")
    try:
        return path.parent / Path("" if named in ("null", "~") else named).expanduser()
    except RuntimeError:  # `~user` of an unknown user
        return path.parent / named


def _part(path: Path, root: Path, key: str, name: str, problems: Problems) -> Path:
    """Return the image folder or list of a split: as written, without a leading `../`, or without `path`."""
    bare = name.replace("\\", "/")
    while bare.startswith("../"):
        bare = bare.removeprefix("../")
    tried = [folder / spelling for folder in (root, path.parent) for spelling in (name, bare)]
    found = [part for part in tried if _is_part(part)]
    if not found:
        raise DataError(f"{path}: {key!r} is neither a folder nor a list of images. Received: {name!r:.200}")
    taken = _without_dots(found[0])
    others = [_without_dots(part) for part in found if resolved(part) != resolved(taken)]
    if found[0] != tried[0]:
        problems.warn(Place(path), f"{key!r} is not at {tried[0]}; {taken} is read")
    elif others:
        problems.warn(Place(path), f"{key!r} is read from {taken}, as written; there is also {others[0]}")
    return taken


def _is_part(path: Path) -> bool:
    return resolved(path).is_dir() or (path.suffix == ".txt" and path.is_file())


def _without_dots(path: Path) -> Path:
    """Return the path without `..`, resolving only the links before it."""
    if ".." not in path.parts:
        return path
    end = len(path.parts) - path.parts[::-1].index("..")
    return resolved(Path(*path.parts[:end])).joinpath(*path.parts[end:])


def _yaml(path: Path) -> Entry:
    """Read a data.yaml with all values as text, since a class name may be `yes` or `007`."""
    text = read_text(path)
    if len(text) > LONGEST:
        raise DataError(f"{path}: not a YOLO data set: it has {len(text):,} characters; the limit is {LONGEST:,}")
    try:
        has_aliases = any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text))
        content = None if has_aliases else yaml.load(text, yaml.BaseLoader)
    except Exception as error:  # several unrelated types for deep nesting
        raise DataError(f"{path}: not YAML ({' '.join(str(error).split())[:200]})") from None
    if has_aliases:
        raise DataError(f"{path}: it has aliases (*name), which YOLO does not need and which can expand exponentially")
    if not isinstance(content, dict):
        raise DataError(f"{path}: not a YOLO data set: it has no keys")
    return content


def _names(path: Path, content: Entry) -> dict[int, str]:
    names = content.get("names")
    names = {str(key): name for key, name in enumerate(names)} if isinstance(names, list) else names
    if not isinstance(names, dict) or not all(_is_number(key) and int(key) <= LAST_CLASS for key in names):
        raise DataError(
            f"{path}: 'names' must be a list of class names, or map numbers to names. Received: {names!r:.200}"
        )
    if not all(isinstance(name, str) for name in names.values()):
        raise DataError(f"{path}: a class name must be text. Received: {names!r:.200}")
    return {int(key): name for key, name in names.items()}


def _is_number(text: object) -> bool:
    return isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 10


def _keypoints(path: Path, content: Entry) -> Keypoints | None:
    shape = content.get("kpt_shape")
    if shape in (None, "", "null", "~"):
        return None
    is_shape = isinstance(shape, list) and len(shape) == 2 and all(map(_is_number, shape))
    if not is_shape or int(shape[0]) < 1 or shape[1] not in ("2", "3"):
        raise DataError(f"{path}: 'kpt_shape' must be [points, 2 or 3]. Received: {shape!r:.200}")
    return Keypoints(int(shape[0]), int(shape[1]))


def _of_data(path: Path, split: str, problems: Problems) -> Description:
    """Read an `obj.data`: lines `key = value` with files in its folder."""
    pairs = (line.partition("=") for line in read_lines(path) if line and not line.startswith("#"))
    content = {key.strip().lower(): value.strip() for key, _, value in pairs}
    key = next((name for name in _same(split) if content.get(name)), None)
    if key is None:
        raise DataError(f"{path}: it has no image list for {split!r}. Received: {', '.join(content)[:200]!r}")
    root = resolved(path.parent)
    listing = _find(path, root, content[key])
    named = content.get("names")
    names = dict(enumerate(read_lines(_find(path, root, named)))) if named else _listed_names(path.parent, path.parent)
    return Description(files=read_list(listing, root, problems), names=names, split=split)


def _find(source: Path, root: Path, name: object) -> Path:
    """Return a file of the data set; raise DataError if it is missing or lies outside."""
    try:
        return find_inside(root, *names_in_list(str(name), root=root))
    except ImageError:
        raise DataError(f"{source}: there is no such file. Received: {str(name)!r:.200}") from None
    except DataError as error:
        raise DataError(f"{source}: {error}") from None
