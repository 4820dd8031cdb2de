"""Write a WebM video without a video encoder: a lossy WebP image is one VP8 key frame."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

_HEADER, _SEGMENT, _INFO, _TRACKS, _CLUSTER = 0x1A45DFA3, 0x18538067, 0x1549A966, 0x1654AE6B, 0x1F43B675
_KEY_FRAME = 0x80


def write_webm(path: Path, pictures: Sequence[Image.Image], milliseconds: int, states_duration: bool = True) -> Path:
    """Write pictures of one size as a WebM video (RFC 9559) that shows each for `milliseconds`.

    Without `states_duration` the file looks like a browser's own recording, whose header is written first.
    """
    width, height = pictures[0].size
    duration = _element(0x4489, struct.pack(">d", len(pictures) * milliseconds)) if states_duration else b""
    video = _element(0xB0, _number(width)) + _element(0xBA, _number(height))
    track = _element(0xD7, _number(1)) + _element(0x73C5, _number(1)) + _element(0x83, _number(1))
    blocks = (_block(index * milliseconds, picture) for index, picture in enumerate(pictures))
    path.write_bytes(
        _element(_HEADER, _element(0x4282, b"webm") + _element(0x4287, _number(2)) + _element(0x4285, _number(2)))
        + _element(
            _SEGMENT,
            _element(_INFO, _element(0x2AD7B1, _number(1_000_000)) + duration)
            + _element(_TRACKS, _element(0xAE, track + _element(0x86, b"V_VP8") + _element(0xE0, video)))
            + _element(_CLUSTER, _element(0xE7, _number(0)) + b"".join(blocks)),
        )
    )
    return path


def _block(time: int, picture: Image.Image) -> bytes:
    return _element(0xA3, struct.pack(">BhB", 0x81, time, _KEY_FRAME) + _vp8(picture))


def _vp8(picture: Image.Image) -> bytes:
    """Return the VP8 key frame in a picture's WebP file, which has no other chunk."""
    file = io.BytesIO()
    picture.convert("RGB").save(file, "WEBP", quality=90)
    content = file.getvalue()
    assert content[12:16] == b"VP8 "
    return content[20 : 20 + struct.unpack("<I", content[16:20])[0]]


def _element(identifier: int, content: bytes) -> bytes:
    return _number(identifier) + struct.pack(">Q", 1 << 56 | len(content)) + content


def _number(value: int) -> bytes:
    return value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big")
