"""Decode PNG files with 16 bits per channel, which often hold unscaled values of a 10, 12 or 14-bit camera."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np

logger = logging.getLogger(__name__)

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEADER = 26  # bytes up to and including the color type, which follows the bit depth
DEPTHS = (8, 10, 12, 14, 16)  # bit depths of cameras and scanners
MAX_CHUNKS = 1000  # to read: a file can hold millions of empty ones

_WARNING = (
    "%s: no value in this 16-bit PNG has more than %d bits, so it and similar files are read as %d-bit images. "
    "Add an sBIT chunk to declare the bit depth."
)
_warned: set[int] = set()  # bit depths that were already logged


def is_deep(head: bytes) -> bool:
    """Return whether a file that begins with `head` (at least `HEADER` bytes) is a PNG with 16 bits per channel."""
    return head.startswith(SIGNATURE) and head[HEADER - 2 : HEADER - 1] == b"\x10"


def read_deep(encoded: bytes, name: str) -> np.ndarray:
    """Decode a PNG with 16 bits per channel to `[H, W, 3]` uint8, dropping alpha: see `to_8_bits`.

    Raises:
        tf.errors.InvalidArgumentError: the file cannot be decoded.
    """
    import tensorflow as tf

    samples = tf.io.decode_png(encoded, dtype=tf.uint16).numpy()  # Pillow keeps only 8 bits of color channels
    samples = samples[..., :3] if samples.shape[-1] > 2 else samples[..., :1]
    return to_8_bits(samples, declared_bits(encoded), name)


def to_8_bits(samples: np.ndarray, declared: int, name: str) -> np.ndarray:
    """Convert `[H, W, 1 or 3]` uint16 to `[H, W, 3]` uint8; `name` is for the warning.

    By the standard, values span all 16 bits, and the upper 8 are kept. Cameras with fewer bits often store unscaled
    values. These are scaled by the bit depth that the file declares (sBIT chunk), or if `declared` is 0, by the
    smallest of `DEPTHS` that holds the largest value, with one warning per depth.
    """
    bits = declared or next(bits for bits in DEPTHS if not int(samples.max()) >> bits)
    if not _unscaled(samples, bits):
        bits = 16
    elif not declared:
        _warn(bits, name)
    return np.ascontiguousarray(np.broadcast_to((samples >> (bits - 8)).astype(np.uint8), (*samples.shape[:2], 3)))


def declared_bits(encoded: bytes) -> int:
    """Return the number of significant bits, 8 to 16, that a 16-bit PNG declares; 0 if it declares none."""
    for name, data in _chunks(encoded):
        if name == b"sBIT":
            colors = data[:3] if len(data) > 2 else data[:1]  # without alpha
            return max(8, *colors) if colors and all(1 <= bits <= 16 for bits in colors) else 0
        if name == b"IDAT":
            break
    return 0


def _chunks(encoded: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the name and the first 4 bytes of each of the first `MAX_CHUNKS` chunks."""
    position = len(SIGNATURE)
    for _ in range(MAX_CHUNKS):
        length = int.from_bytes(encoded[position : position + 4], "big")
        yield encoded[position + 4 : position + 8], encoded[position + 8 : position + 8 + min(length, 4)]
        position += length + 12


def _unscaled(samples: np.ndarray, bits: int) -> bool:
    """Return whether values are unscaled `bits`-bit values, and not scaled to 16 bits.

    Scaling small values leaves low bits of 0 or, by rounding, 1.
    """
    return int(samples.max()) < 1 << bits and bool(((samples & ((1 << (16 - bits)) - 1)) > 1).any())


def _warn(bits: int, name: str) -> None:
    if bits not in _warned:
        _warned.add(bits)
        logger.warning(_WARNING, name, bits, bits)
