"""Decode the image files people have, and preprocess them the one way used by training, evaluation and export."""

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
from spinenet_tf.data.deep_png import HEADER, is_deep, read_deep
from spinenet_tf.data.orientation import TURNS, UPRIGHT, turned_size, upright_image
from spinenet_tf.ops.pixels import MEAN, STD

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP")
MAX_SCANS = 100  # of a progressive JPEG, which has about ten: each costs a pass over all pixels, and ten bytes

_ORIENTATION = 0x0112  # the EXIF tag
_TELL_TURNS = (b"Exif\0\0", b"EXIF", b"eXIf", b"exif", b"XMP ", b"adobe.")  # a file that tells its turn has one
_BYTES_PER_PIXEL = 16  # in a file that is no trick: the largest pixel, RGBA of 16 bits, has 8


class Stored(NamedTuple):
    """How an image lies in its file."""

    height: int  # px, before it is turned
    width: int
    orientation: int  # by which it is turned, a key of `TURNS`


def read_image(path: str | Path | ImageFile, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode one file to `[H, W, 3]` uint8 RGB, upright by its EXIF tag; alpha is dropped, the first frame taken.

    The header is read first, so that a small file that claims billions of pixels costs nothing. A format is known by
    the content, whatever the file's name says. Of 16-bit channels, the upper 8 of the bits in use are kept, see
    `read_deep`.

    Raises:
        ImageError: naming the file: missing, not one of `FORMATS`, larger than `max_pixels`, truncated or corrupt.
    """
    with _opened(path, max_pixels) as image:
        try:
            _check_scans(image)
            deep = is_deep(_read_again(image, HEADER))  # before Pillow has read, and closed, the file
            orientation = _orientation(image)
            image.load()
            return upright_image(read_deep(_bytes(path), str(path)) if deep else np.array(_to_rgb(image)), orientation)
        except Exception as error:  # Pillow's decoders raise a dozen unrelated types on corrupt data
            raise ImageError(f"{path}: the image does not decode ({_one_line(error)})") from None


def read_size(path: str | Path | ImageFile, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Return `(height, width)` as `read_image` would give them, from the header alone; raises the same errors."""
    return turned_size(*read_stored(path, max_pixels))


def read_stored(path: str | Path | ImageFile, max_pixels: int = MAX_PIXELS) -> Stored:
    """Return size and orientation of the pixels as they are stored; raises as `read_size` does.

    Of an orientation that cannot be read, `UPRIGHT` is returned.
    """
    with _opened(path, max_pixels) as image:
        width, height = image.size
        try:
            return Stored(height, width, _orientation(image))
        except Exception as error:  # as above
            raise ImageError(f"{path}: the image does not decode ({_one_line(error)})") from None


def may_be_turned(encoded: bytes) -> bool:
    """Tell, without reading it as an image, whether an encoded image can have another orientation than `UPRIGHT`."""
    return any(word in encoded for word in _TELL_TURNS)


def _opened(path: str | Path | ImageFile, max_pixels: int) -> OpenedImage:
    try:
        image = Image.open(_source(path, max_pixels), formats=FORMATS)
    except ImageError:
        raise
    except FileNotFoundError:
        raise ImageError(f"{path}: no such image file") from None
    except PermissionError:
        raise ImageError(f"{path}: the image file may not be read") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:  # Pillow's own, later limit
        raise ImageError(f"{path}: the image has too many pixels ({_one_line(error)})") from None
    except Exception:  # as above
        raise ImageError(f"{path}: not a readable image of the formats {', '.join(FORMATS)}") from None
    width, height = image.size
    if not 0 < width * height <= max_pixels:
        image.close()
        count = "too many" if width * height else "no"
        raise ImageError(f"{path}: the image has {count} pixels ({width} x {height}), the limit is {max_pixels:,}")
    return image


def _source(path: str | Path | ImageFile, max_pixels: int) -> Path | io.BytesIO:
    """Return what Pillow may open: some of its plugins read a file to its end before its header is seen."""
    if not isinstance(path, str | Path):
        return io.BytesIO(path.read_bytes())
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):  # a pipe would be waited for
        raise ImageError(f"{path}: not a file")
    if found.st_size > max_pixels * _BYTES_PER_PIXEL + 2**20:
        raise ImageError(f"{path}: the file is too large for {max_pixels:,} pixels. Received: {found.st_size:,} bytes")
    return Path(path)


def _orientation(image: OpenedImage) -> int:
    if image.format == "PNG" and "exif" not in image.info:
        if not may_be_turned(_read_again(image)):  # Pillow would decode all pixels to look behind them
            return UPRIGHT
        image.load()
    try:
        found = image.getexif().get(_ORIENTATION, UPRIGHT)
        return found if isinstance(found, int) and found in TURNS else UPRIGHT
    except Exception:  # of a dozen unrelated types, on damaged EXIF: the image itself may be sound
        return UPRIGHT


def _check_scans(image: OpenedImage) -> None:
    """Refuse what a decoder would spend minutes on, though it is small."""
    if image.format == "BMP" and image.info.get("compression") in (1, 2):  # decoded byte by byte, in Python
        raise ImageError("BMP with run lengths is not supported")
    if image.format in ("JPEG", "MPO") and "progressive" in image.info and image.fp:  # MPO: several JPEGs in a row
        scans = _read_again(image).count(b"\xff\xda")
        if scans > MAX_SCANS:
            raise ImageError(f"it has {scans} scans, the limit is {MAX_SCANS}")


def _read_again(image: OpenedImage, size: int = -1) -> bytes:
    """Return a file's first bytes, or all of them; what Pillow reads next stays."""
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
    """Map `[..., 3]` RGB in 0..255 to float32 of about zero mean and unit deviation."""
    mean, std = np.array(MEAN, np.float32), np.array(STD, np.float32)
    return tf.cast(image, tf.float32) * (1 / (255 * std)) - mean / std


def to_pixels(images: np.ndarray) -> np.ndarray:
    """Undo the normalization of `[..., 3]` images: the nearest of 0..255 in float32."""
    mean, std = np.array(MEAN, np.float32), np.array(STD, np.float32)
    return np.clip(np.rint((images * std + mean) * 255), 0, 255)


def fit_scale(image: tf.Tensor, height: int | tf.Tensor, width: int | tf.Tensor) -> tf.Tensor:
    """Return the largest factor by which `[h, w, 3]` still fits into `height` x `width` pixels."""
    size = tf.cast(tf.shape(image)[:2], tf.float32)
    return tf.reduce_min(tf.cast(tf.stack([height, width]), tf.float32) / size)


def place(
    image: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, height: int | tf.Tensor, width: int | tf.Tensor
) -> tf.Tensor:
    """Resize `[h, w, 3]` uint8 by `scale`, cut at `offset`, normalize, then zero pad at the bottom and right.

    `offset` is y, x in pixels of the result. The point `p` of the file lands exactly on `p * scale - offset`: the
    resize is bilinear at the real scale, not at one rounded to whole pixels. Returns `[height, width, 3]` float32.
    """
    # Only what the image covers is computed. A center on its very edge counts as padding: rounding decides whether the
    # resize saw it.
    end = tf.cast(tf.shape(image)[:2], tf.float32) * scale - offset
    covered = tf.cast(tf.math.ceil(end - 1e-3 - 0.5), tf.int32)
    covered = tf.clip_by_value(covered, 1, tf.stack([height, width]))
    resized = tf.raw_ops.ScaleAndTranslate(
        images=image[None],
        size=covered,
        scale=tf.stack([scale, scale]),
        translation=-offset,
        kernel_type="triangle",
        antialias=False,  # as published
    )[0]
    missing = tf.stack([height, width]) - covered
    padded = tf.pad(normalize(resized), [[0, missing[0]], [0, missing[1]], [0, 0]])
    sides = [side if isinstance(side, int) else None for side in (height, width)]
    return tf.ensure_shape(padded, [*sides, 3])


def preprocess(image: np.ndarray | tf.Tensor, height: int, width: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Fit one `[h, w, 3]` uint8 image into the network's input, top left, keeping its shape.

    Returns the normalized `[height, width, 3]` float32 image and the scalar `scale`; a box in pixels of the file is
    the network's box divided by `scale`. Raises ValueError for anything but uint8 RGB.
    """
    image = tf.convert_to_tensor(image)
    if image.dtype != tf.uint8 or image.shape.rank != 3 or image.shape[-1] != 3:
        raise ValueError(f"An image is [height, width, 3] uint8. Received: shape={image.shape}, dtype={image.dtype}")
    scale = fit_scale(image, height, width)
    return place(image, scale, tf.zeros(2), height, width), scale
