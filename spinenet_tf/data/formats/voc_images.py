"""Find the image of a Pascal VOC annotation file."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path, PurePath, PureWindowsPath

from spinenet_tf.data.dataset import IMAGE_SUFFIXES, DataError, ImageError
from spinenet_tf.data.files import find_inside, images_named, inside, leads_out


def find_image(root: Path, filename: str, xml_stem: str) -> tuple[str, Path]:
    """Return the name and path of an XML file's image in the resolved folder `root`.

    `filename` is the file name in the XML, and `xml_stem` the stem of the XML file. Tried in order: `filename`, its
    last part without folders (of any operating system), its stem with any suffix, and `xml_stem` with any suffix. Only
    the last part is tried if `filename` leads out of the folder.

    Raises:
        DataError: the name leads out, or several images match.
        ImageError: there is no such image.
    """
    last = PureWindowsPath(re.split(r"[/\\]", filename)[-1]).name  # C:1.png is a Windows path, too
    if leads_out(filename):
        with suppress(DataError):
            return last, find_inside(root, last)
        inside(root, filename)  # raises
    for name in filter(None, dict.fromkeys((filename, last))):
        with suppress(ImageError):
            return name, find_inside(root, name)
    stem = PurePath(last).stem if PurePath(last).suffix.lower() in IMAGE_SUFFIXES else last
    for name in filter(None, dict.fromkeys((stem, xml_stem))):
        found = images_named(root, name)
        if len(found) > 1:
            raise DataError(f"several images match: {', '.join(found)}. Received: filename={filename!r}")
        if found:
            return found[0], find_inside(root, found[0])
    raise ImageError(f"the image folder has no such file. Received: file_name={filename!r}")
