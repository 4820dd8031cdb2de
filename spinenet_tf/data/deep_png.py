"""PNG files of 16 bits a channel, whose values often are those of a camera with 10, 12 or 14 bits."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np

logger = logging.getLogger(__name__)

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEADER = 26  # bytes up to the color type, which follows the depth
DEPTHS = (8, 10, 12, 14, 16)  # bits that cameras and scanners have
MAX_CHUNKS = 1000  # that are looked at: a file can hold millions of empty ones

_SAID = (
    "%s: no value of this 16-bit PNG has more than %d bits, so it is read as a PNG of %d bits, and so are others like "
    "it. A chunk sBIT in the file would tell for certain."
)
_said: set[int] = set()  # the numbers of bits that were told


def is_deep(head: bytes) -> bool:
    """Tell whether a file that begins with `head`, of at least `HEADER` bytes, is a PNG of 16 bits a channel."""
    return head.startswith(SIGNATURE) and head[HEADER - 2 : HEADER - 1] == b"\x10"


def read_deep(encoded: bytes, name: str) -> np.ndarray:
    """Decode a PNG of 16 bits a channel to `[H, W, 3]` uint8, alpha dropped; `name` is for a warning.

    By the standard, values span all 16 bits, and the upper 8 are kept. Files of cameras with fewer bits often hold the
    values as they were measured; these are scaled by the bits that the file declares (chunk sBIT), else by the fewest
    of `DEPTHS` that hold the largest value, which is said in one warning for each of them.

    Raises:
        tf.errors.InvalidArgumentError: it does not decode.
    """
    import tensorflow as tf

    samples = tf.io.decode_png(encoded, dtype=tf.uint16).numpy()  # Pillow keeps 8 bits of channels in color
    samples = samples[..., :3] if samples.shape[-1] > 2 else samples[..., :1]
    declared = declared_bits(encoded)
    bits = declared or next(bits for bits in DEPTHS if not int(samples.max()) >> bits)
    if not _unscaled(samples, bits):
        bits = 16
    elif not declared:
        _say(bits, name)
    return np.ascontiguousarray(np.broadcast_to((samples >> (bits - 8)).astype(np.uint8), (*samples.shape[:2], 3)))


def declared_bits(encoded: bytes) -> int:
    """Return how many bits of a channel a PNG of 16 bits declares as significant, 8 to 16; 0 if it declares none."""
    for name, data in _chunks(encoded):
        if name == b"sBIT":
            colors = data[:3] if len(data) > 2 else data[:1]  # what may follow is alpha
            return max(8, *colors) if colors and all(1 <= bits <= 16 for bits in colors) else 0
        if name == b"IDAT":
            break
    return 0


def _chunks(encoded: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the names of the first `MAX_CHUNKS` chunks and what of them a declaration needs."""
    position = len(SIGNATURE)
    for _ in range(MAX_CHUNKS):
        length = int.from_bytes(encoded[position : position + 4], "big")
        yield encoded[position + 4 : position + 8], encoded[position + 8 : position + 8 + min(length, 4)]
        position += length + 12


def _unscaled(samples: np.ndarray, bits: int) -> bool:
    """Tell whether values are of `bits` bits as they were measured, and not spread over all 16.

    However an encoder spreads small values, it leaves low bits of 0 or, by rounding, 1.
    """
    return int(samples.max()) < 1 << bits and bool(((samples & ((1 << (16 - bits)) - 1)) > 1).any())


def _say(bits: int, name: str) -> None:
    if bits not in _said:
        _said.add(bits)
        logger.warning(_SAID, name, bits, bits)
