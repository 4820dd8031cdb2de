"""Make PNG files that Pillow cannot write."""

from __future__ import annotations

import struct
import zlib

import numpy as np


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(height: int, width: int, *chunks: bytes, bits: int = 8, kind: int = 2, rows: bytes = b"\0") -> bytes:
    """Return a PNG with a claimed size and a color type (0 gray, 2 RGB, 4 gray and alpha, 6 RGBA)."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + pixels + chunk(b"IEND", b"")


def png_of_16_bits(samples: np.ndarray, kind: int, declared: bytes = b"") -> bytes:
    """Return `[H, W, C]` uint16 as a 16-bit PNG, with an sBIT chunk if `declared`."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    chunks = [chunk(b"sBIT", declared)] if declared else []
    return png(*samples.shape[:2], *chunks, bits=16, kind=kind, rows=rows)
