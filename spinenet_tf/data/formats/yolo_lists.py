"""Read image lists of YOLO data sets: text files with one file name per line, all inside the data set's folder."""

from __future__ import annotations

import posixpath
from pathlib import Path

from spinenet_tf.data.files import find_inside, read_lines, resolved
from spinenet_tf.data.problems import Place, Problems

DATA = "data/"  # CVAT and Darknet write names relative to the parent folder


def read_list(listing: Path, root: Path, problems: Problems) -> list[Path]:
    """Return the resolved images in a list; names are relative to the list or to `root`, the data set's folder.

    If the list lies outside `root`, its images must lie in the list's folder.

    Raises:
        DataError: a name leads out of the folder, or the image is missing. The message names the list and the line.
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
    """Return the possible meanings of a line, relative to the data set's folder `root`, most likely first.

    `below` is the list's folder relative to `root`. An absolute path inside `root` is allowed.
    """
    if root is not None and Path(line).is_absolute() and (path := resolved(Path(line))).is_relative_to(root):
        line = str(path.relative_to(root))
    plain = line.replace("\\", "/")
    own = [] if below == "." else [posixpath.normpath(posixpath.join(below, plain))]
    return [*own, line, plain, plain.removeprefix("./").removeprefix(DATA)]
