"""Lists of images in YOLO data sets: text files with a name a line, all inside the data set's folder."""

from __future__ import annotations

import posixpath
from pathlib import Path

from spinenet_tf.data.files import find_inside, read_lines, resolved
from spinenet_tf.data.problems import Place, Problems

DATA = "data/"  # CVAT and Darknet write names as seen from the folder above


def read_list(listing: Path, root: Path, problems: Problems) -> list[Path]:
    """Return the images that a list names, relative to itself or to `root`, the data set's folder, with links followed.

    A list that lies elsewhere is its own data set's: its names must lie in its folder.

    Raises:
        DataError: naming the list and the line: a name leads out of the folder, or there is no such image.
    """
    listing, root = resolved(listing), resolved(root)
    if not listing.is_relative_to(root):
        root = listing.parent
    below = listing.parent.relative_to(root).as_posix()
    files = []
    for number, line in enumerate(read_lines(listing), start=1):
        with problems.at(Place(listing, f"line {number}")):
            if line:
                files.append(find_inside(root, *names_in_list(line, below, root)))
    return files


def names_in_list(line: str, below: str = ".", root: Path | None = None) -> list[str]:
    """Return what a line may mean, relative to the data set's folder `root`, the likeliest first.

    `below` is the list's own folder in it. A full path that leads into `root` is a name too.
    """
    if root is not None and Path(line).is_absolute() and (path := resolved(Path(line))).is_relative_to(root):
        line = str(path.relative_to(root))
    plain = line.replace("\\", "/")
    own = [] if below == "." else [posixpath.normpath(posixpath.join(below, plain))]
    return [*own, line, plain, plain.removeprefix("./").removeprefix(DATA)]
