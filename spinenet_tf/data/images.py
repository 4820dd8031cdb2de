"""Decode image files, and normalize pixels identically for training, evaluation and export."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image
from PIL.ImageFile import ImageFile as OpenedImage

from spinenet_tf.data.dataset import MAX_PIXELS, ImageError, ImageFile
from spinenet_tf.data.deep_png import HEADER, is_deep, read_deep, to_8_bits
from spinenet_tf.data.orientation import TURNS, UPRIGHT, turned_size, upright_image
from spinenet_tf.ops.pixels import OFFSET, SCALE, unnormalize

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP")
MAX_SCANS = 100  # of a progressive JPEG, which usually has ten: a 10-byte scan costs a pass over all pixels

_ORIENTATION = 0x0112  # the EXIF tag
_METADATA_MARKS = (b"Exif\0\0", b"EXIF", b"eXIf", b"exif", b"XMP ", b"adobe.")  # a file with an orientation has one
_UNBOUNDED = ("I", "F")  # modes with 32 bits per value
_BYTES_PER_PIXEL = 16  # plausible maximum: the largest pixel format, 16-bit RGBA, has 8


class Stored(NamedTuple):
    """Size and orientation of an image in its file."""

    height: int  # px, before the EXIF orientation is applied
    width: int
    orientation: int  # EXIF orientation, a key of `TURNS`


def read_image(path: str | Path | ImageFile, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode the first frame of a file to `[H, W, 3]` uint8 RGB, upright by its EXIF orientation, without alpha.

    The header is checked first, so that a small file that claims billions of pixels is rejected quickly. The format is
    detected from the content, not the file name. For 16-bit channels, the upper 8 of the used bits are kept: see
    `read_deep`.

    Raises:
        ImageError: the file is missing, not one of `FORMATS`, larger than `max_pixels`, truncated or corrupt.
    """
    with _opened(path, max_pixels) as image:
        try:
            _check_scans(image)
            deep = is_deep(_read_again(image, HEADER))  # before Pillow reads and closes the file
            orientation = _orientation(image)
            image.load()
            return upright_image(read_deep(_bytes(path), str(path)) if deep else np.array(_to_rgb(image)), orientation)
        except Exception as error:  # Pillow's decoders raise a dozen unrelated types on corrupt data
            raise ImageError(f"{path}: the image cannot be decoded ({_one_line(error)})") from None


def pixels_of(image: Image.Image) -> np.ndarray:
    """Convert a Pillow image of any mode to `[H, W, 3]` uint8 RGB, upright by its EXIF orientation, without alpha.

    Of 16-bit gray values, 8 bits are kept: see `to_8_bits`.

    Raises:
        ImageError: the image has no pixels, its file is truncated or closed, or its values have no known range.
    """
    if not all(image.size):
        raise ImageError(f"the image has no pixels ({image.size[0]} x {image.size[1]})")
    if image.mode in _UNBOUNDED:
        raise ImageError(f"an image of mode {image.mode} may have values of any range: convert it to 8 bits")
    try:
        orientation = _orientation(image)
        image.load()
        if image.mode.startswith("I;16"):
            stored = to_8_bits(np.array(image).astype(np.uint16)[..., None], 0, "the image")
        else:
            stored = np.array(_to_rgb(image))
        return upright_image(stored, orientation)
    except Exception as error:  # as above
        raise ImageError(f"the image cannot be decoded ({_one_line(error)})") from None


def read_size(path: str | Path | ImageFile, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Return the upright `(height, width)` from the header alone; raises as `read_image` does."""
    return turned_size(*read_stored(path, max_pixels))


def read_stored(path: str | Path | ImageFile, max_pixels: int = MAX_PIXELS) -> Stored:
    """Return the stored size and the orientation; raises as `read_size` does.

    An unreadable orientation is returned as `UPRIGHT`.
    """
    with _opened(path, max_pixels) as image:
        width, height = image.size
        try:
            return Stored(height, width, _orientation(image))
        except Exception as error:  # as above
            raise ImageError(f"{path}: the image cannot be decoded ({_one_line(error)})") from None


def may_be_turned(encoded: bytes) -> bool:
    """Return whether an encoded image may have an orientation other than `UPRIGHT`, without parsing it."""
    return any(mark in encoded for mark in _METADATA_MARKS)


def _opened(path: str | Path | ImageFile, max_pixels: int) -> OpenedImage:
    try:
        image = Image.open(_source(path, max_pixels), formats=FORMATS)
    except ImageError:
        raise
    except FileNotFoundError:
        raise ImageError(f"{path}: no such image file") from None
    except PermissionError:
        raise ImageError(f"{path}: no permission to read the image file") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:  # Pillow's own, later limit
        raise ImageError(f"{path}: the image has too many pixels ({_one_line(error)})") from None
    except Exception:  # as above
        raise ImageError(f"{path}: not a readable image in one of the formats {', '.join(FORMATS)}") from None
    width, height = image.size
    if not 0 < width * height <= max_pixels:
        image.close()
        count = "too many" if width * height else "no"
        raise ImageError(f"{path}: the image has {count} pixels ({width} x {height}), the limit is {max_pixels:,}")
    return image


def _source(path: str | Path | ImageFile, max_pixels: int) -> Path | io.BytesIO:
    """Return a source for Pillow, after checking the file size: some plugins read the whole file before the header."""
    if not isinstance(path, str | Path):
        return io.BytesIO(path.read_bytes())
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):  # a pipe would block
        raise ImageError(f"{path}: not a file")
    if found.st_size > max_pixels * _BYTES_PER_PIXEL + 2**20:
        raise ImageError(f"{path}: the file is too large for {max_pixels:,} pixels. Received: {found.st_size:,} bytes")
    return Path(path)


def _orientation(image: Image.Image) -> int:
    if isinstance(image, OpenedImage) and image.format == "PNG" and "exif" not in image.info:
        if not may_be_turned(_read_again(image)):  # otherwise Pillow decodes all pixels to find later chunks
            return UPRIGHT
        image.load()
    try:
        found = image.getexif().get(_ORIENTATION, UPRIGHT)
        return found if isinstance(found, int) and found in TURNS else UPRIGHT
    except Exception:  # damaged EXIF raises a dozen unrelated types; the image itself may be fine
        return UPRIGHT


def _check_scans(image: OpenedImage) -> None:
    """Reject small files that take minutes to decode."""
    if image.format == "BMP" and image.info.get("compression") in (1, 2):  # decoded byte by byte, in Python
        raise ImageError("run-length encoded BMP files are not supported")
    if image.format in ("JPEG", "MPO") and "progressive" in image.info and image.fp:  # MPO: several JPEGs in one file
        scans = _read_again(image).count(b"\xff\xda")
        if scans > MAX_SCANS:
            raise ImageError(f"it has {scans} scans, the limit is {MAX_SCANS}")


def _read_again(image: OpenedImage, size: int = -1) -> bytes:
    """Return the first `size` bytes of the file, or all, without moving Pillow's file position."""
    if image.fp is None:
        return b""
    position = image.fp.tell()
    image.fp.seek(0)
    content = image.fp.read(size)
    image.fp.seek(position)
    return content


def _to_rgb(image: Image.Image) -> Image.Image:
    if "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def _bytes(path: str | Path | ImageFile) -> bytes:
    return Path(path).read_bytes() if isinstance(path, str) else path.read_bytes()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def normalize(image: tf.Tensor) -> tf.Tensor:
    """Normalize `[..., 3]` RGB in 0..255 to float32 with about zero mean and unit standard deviation."""
    return tf.cast(image, tf.float32) * SCALE + OFFSET


def to_pixels(images: np.ndarray) -> np.ndarray:
    """Invert `normalize` for `[..., 3]` images, rounded to 0..255 in float32."""
    return np.rint(unnormalize(images))
