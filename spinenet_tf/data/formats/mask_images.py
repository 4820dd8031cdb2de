"""Define masks that are stored as images, as in TF Model Garden's TFRecord files."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from spinenet_tf.data.dataset import ImageError, ImageFile
from spinenet_tf.data.images import Stored, read_image
from spinenet_tf.data.masks import Mask, RunLengthMask
from spinenet_tf.data.orientation import UPRIGHT, stored_image, upright_image

_SIZE = slice(16, 24)  # of a PNG file: width and height, 4 bytes each


@dataclass(frozen=True, eq=False, slots=True)
class MaskImage(Mask):
    """A mask that is stored as an image in stored pixels: before the EXIF `orientation` of its photograph is applied.

    Pixels above 0 belong to the object. The file is read on demand.
    """

    file: ImageFile
    orientation: int = UPRIGHT

    @property
    def is_file(self) -> bool:
        return True

    def counts(self) -> bytes:
        stored = read_image(self.file, self.height * self.width)
        pixels = upright_image(np.max(stored, axis=-1) > 0, self.orientation)
        if pixels.shape != (self.height, self.width):
            raise ImageError(f"{self.file}: a mask is {pixels.shape}, its image {self.height} x {self.width} pixels")
        return RunLengthMask.of(pixels).compressed


def png_size(encoded: bytes) -> tuple[int, int]:
    """Return the height and width in the header of a PNG file; (0, 0) if it is none."""
    if not encoded.startswith(b"\x89PNG\r\n\x1a\n"):
        return 0, 0
    width, height = np.frombuffer(encoded[_SIZE].ljust(8, b"\0"), ">u4").tolist()
    return height, width


def mask_png(mask: Mask | None, stored: Stored) -> bytes:
    """Encode a mask in stored pixels as PNG, with the values 0 and 1; without a mask, all are 0."""
    pixels = np.zeros(stored[:2], bool) if mask is None else stored_image(mask.decode(), stored.orientation)
    Image.fromarray(pixels.astype(np.uint8)).save(encoded := io.BytesIO(), "PNG")
    return encoded.getvalue()
