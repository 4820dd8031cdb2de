"""The image that a Pascal VOC file describes: which one it is, and its size."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path, PurePath, PureWindowsPath

from spinenet_tf.data.dataset import IMAGE_SUFFIXES, DataError, ImageError
from spinenet_tf.data.files import find_inside, images_named, inside, leads_out


def find_image(root: Path, told: str, own: str) -> tuple[str, Path]:
    """Return the image of an XML file in the folder `root`, which is resolved: its name there, and its path.

    The file has `told` a name. The image has that name, or its last part, behind folders of any system, or this without
    its suffix; one that was renamed has the XML file's `own` name. A name that leads out of the folder stands for its
    last part alone.

    Raises:
        DataError: the name leads out, or two images could be meant.
        ImageError: there is no such image.
    """
    last = PureWindowsPath(re.split(r"[/\\]", told)[-1]).name  # C:1.png is one of Windows too
    if leads_out(told):
        with suppress(DataError):
            return last, find_inside(root, last)
        inside(root, told)  # raises
    for name in filter(None, dict.fromkeys((told, last))):
        with suppress(ImageError):
            return name, find_inside(root, name)
    stem = PurePath(last).stem if PurePath(last).suffix.lower() in IMAGE_SUFFIXES else last
    for name in filter(None, dict.fromkeys((stem, own))):
        found = images_named(root, name)
        if len(found) > 1:
            raise DataError(f"several images could be meant: {', '.join(found)}. Received: filename={told!r}")
        if found:
            return found[0], find_inside(root, found[0])
    raise ImageError(f"the image folder has no such file. Received: file_name={told!r}")
