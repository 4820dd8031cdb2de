"""The graph reads the same EXIF orientation as Pillow, and no file makes it fail or loop."""

from __future__ import annotations

import io
import struct
import time

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps
from pngs import chunk

from spinenet_tf.data.images import read_stored
from spinenet_tf.export.serving.exif import orientation, upright

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)
XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="%d" /></x:xmpmeta>'


class File:
    """An encoded image in memory, with the interface of a file."""

    name = "a"

    def __init__(self, content: bytes) -> None:
        self.content = content

    def read_bytes(self) -> bytes:
        return self.content


@pytest.fixture(scope="module")
def found():
    """Return the function under test, from bytes to a number."""
    traced = tf.function(orientation, autograph=False).get_concrete_function(tf.TensorSpec((), tf.string))
    return lambda encoded: int(traced(tf.constant(encoded)))


def tiff(order: str, *tags: tuple[int, int, int, bytes], start: int = 8) -> bytes:
    """Return a directory of tags `(tag, type, count, value)` in the byte order "<" or ">"."""
    rows = b"".join(struct.pack(f"{order}HHI", *tag[:3]) + tag[3].ljust(4, b"\0") for tag in tags)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", start)
    return head.ljust(start, b"\0") + struct.pack(f"{order}H", len(tags)) + rows + bytes(4)


def camera(order: str, value: int, **more: int) -> bytes:
    """Return EXIF data as a camera writes it, with the orientation among other tags."""
    short = struct.pack(f"{order}H", value)
    tags = [(0x010F, 2, 4, b"abc\0"), (0x0112, 3, 1, short), (0x011A, 5, 1, struct.pack(f"{order}I", 8))]
    return tiff(order, *tags, **more)


def segment(content: bytes, marker: int = 0xE1) -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content


def jpeg(*segments: bytes) -> bytes:
    Image.fromarray(PIXELS).save(file := io.BytesIO(), "JPEG", quality=95)
    return file.getvalue()[:2] + b"".join(segments) + file.getvalue()[2:]


def png(*chunks: bytes, behind: bytes = b"") -> bytes:
    Image.fromarray(PIXELS).save(file := io.BytesIO(), "PNG")
    content = file.getvalue()
    return content[:33] + b"".join(chunks) + content[33:-12] + behind + content[-12:]


def exif(value: int, order: str = "<") -> bytes:
    return segment(b"Exif\0\0" + camera(order, value))


@pytest.mark.parametrize("value", range(1, 9))
def test_pixels_are_turned_as_pillow_turns_them(value: int) -> None:
    picture = Image.fromarray(PIXELS)
    picture.getexif()[0x0112] = value
    np.testing.assert_array_equal(
        upright(tf.constant(PIXELS), tf.constant(value, tf.int64)), ImageOps.exif_transpose(picture)
    )


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("value", range(1, 9))
def test_a_turn_is_read_in_both_formats_and_byte_orders(found, value: int, order: str) -> None:
    data = camera(order, value)
    files = [
        jpeg(exif(value, order)),
        jpeg(
            segment(b"JFIF\0\1\1\0\0\1\0\1\0\0", 0xE0),
            segment(b"ICC", 0xE2),
            segment(b"http://x\0"),
            exif(value, order),
        ),
        jpeg(b"\xff\xff\xff", segment(b"Exif\0\0Exif\0\0" + data)),
        jpeg(segment(b"Exif\0\0" + camera(order, value, start=100))),
        png(chunk(b"eXIf", data)),
        png(chunk(b"tEXt", b"Comment\0eXIf"), chunk(b"eXIf", b"Exif\0\0" + data)),
        png(behind=chunk(b"eXIf", data)),
    ]
    for number, file in enumerate(files):
        assert found(file) == read_stored(File(file)).orientation == value, number


def test_a_turn_is_found_behind_hundreds_of_chunks(found) -> None:
    file = png(*[chunk(b"tEXt", b"k\0v")] * 900, behind=chunk(b"eXIf", camera(">", 6)))
    assert found(file) == read_stored(File(file)).orientation == 6


@pytest.mark.parametrize("value", [1, 3, 6, 9])
def test_xmp_tells_where_exif_does_not(found, value: int) -> None:
    text = XMP % value
    itxt = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + text)
    xmp, other = (
        segment(b"http://ns.adobe.com/xap/1.0/\0" + text),
        segment(b"Exif\0\0" + tiff("<", (0x0100, 3, 1, b"\1"))),
    )
    for file in (jpeg(xmp), jpeg(other, xmp), png(itxt), png(behind=itxt), png(chunk(b"eXIf", other[10:]), itxt)):
        assert found(file) == read_stored(File(file)).orientation == (1 if value == 9 else value)
    for file in (jpeg(xmp, exif(8)), png(itxt, chunk(b"eXIf", camera(">", 8)))):
        assert found(file) == read_stored(File(file)).orientation == 8


ODD = {
    "no tag": tiff("<", (0x0100, 3, 1, b"\1")),
    "no tags": tiff(">"),
    "nothing": b"",
    "half a header": b"II*\0\x08",
    "another byte order": b"XX*\0" + camera("<", 6)[4:],
    "a wrong magic number": b"II+\0" + camera("<", 6)[4:],
    "0": camera("<", 0),
    "9": camera("<", 9),
    "6 in the other byte order": tiff(">", (0x0112, 3, 1, b"\6\0")),
    "two numbers": tiff("<", (0x0112, 3, 2, b"\6\0\6\0")),
    "three numbers, which lie apart": tiff("<", (0x0112, 3, 3, struct.pack("<I", 26))) + b"\6\0\3\0\3\0",
    "three numbers behind the end": tiff("<", (0x0112, 3, 3, struct.pack("<I", 99))),
    "more numbers than bytes": tiff("<", (0x0112, 3, 9999, struct.pack("<I", 26))) + b"\6\0\3\0\3\0",
    "a tag before it lies behind the end": tiff("<", (0x010F, 2, 5, b"\xff\0\0\0"), (0x0112, 3, 1, b"\6\0")),
    "a tag before it is larger than all": tiff("<", (0x010F, 2, 999, b"\xff\0\0\0"), (0x0112, 3, 1, b"\6\0")),
    "no number": tiff("<", (0x0112, 3, 0, b"\6\0")),
    "text": tiff("<", (0x0112, 2, 1, b"\6")),
    "an unknown type": tiff("<", (0x0112, 99, 1, b"\6\0")),
    "an unknown type first": tiff("<", (0x0112, 99, 1, b"\3\0"), (0x0112, 3, 1, b"\6\0")),
    "two values": tiff("<", (0x0112, 3, 1, b"\6\0"), (0x0112, 3, 1, b"\3\0")),
    "four bytes": tiff("<", (0x0112, 4, 1, b"\6")),
    "one byte": tiff("<", (0x0112, 1, 1, b"\6")),
    "one signed byte": tiff("<", (0x0112, 6, 1, b"\6")),
    "a float": tiff("<", (0x0112, 11, 1, struct.pack("<f", 6))),
    "a directory behind the end": b"II*\0" + struct.pack("<I", 2**32 - 1),
    "a directory in the header": b"II*\0" + bytes(4) + bytes(40),
    "a cut directory": camera("<", 6)[:30],
    "more tags than there are": camera("<", 6)[:8] + b"\xff\xff" + camera("<", 6)[10:],
}


@pytest.mark.parametrize("data", ODD.values(), ids=ODD.keys())
@pytest.mark.filterwarnings("ignore")  # Pillow's, of damaged EXIF
def test_damaged_and_odd_exif_counts_as_pillow_has_it_or_as_upright(found, data: bytes) -> None:
    for file in (jpeg(segment(b"Exif\0\0" + data)), png(chunk(b"eXIf", data))):
        assert found(file) == read_stored(File(file)).orientation


@pytest.mark.filterwarnings("ignore")
def test_damage_anywhere_neither_fails_nor_differs_from_pillow(found) -> None:
    """Flip bits in the first bytes of a JPEG, which has no checksums, and in a PNG's EXIF with a new checksum."""
    rng, compared, turned = np.random.default_rng(0), 0, 0
    for number in range(300):
        order = "<>"[number % 2]
        data = bytearray(camera(order, 6) if number % 4 > 1 else jpeg(exif(6, order)))
        for place in rng.integers(min(len(data), 90), size=int(rng.integers(1, 5))):
            data[place] ^= 1 << int(rng.integers(8))
        file = png(chunk(b"eXIf", bytes(data))) if number % 4 > 1 else bytes(data)
        value = found(file)
        assert 1 <= value <= 8
        try:
            expected = read_stored(File(file)).orientation
        except ValueError:  # no image to Pillow
            continue
        compared, turned = compared + 1, turned + (value != 1)
        assert value == expected, number
    assert compared > 200
    assert 50 < turned < compared


LONG = {
    "nothing": b"",
    "a byte": b"\xff",
    "a JPEG's first bytes": b"\xff\xd8",
    "a PNG's first bytes": b"\x89PNG\r\n\x1a\n",
    "junk": b"junk" * 10**5,
    "filling": b"\xff\xd8" + b"\xff" * 10**6,
    "segments": b"\xff\xd8" + segment(b"") * 10**5,
    "chunks": b"\x89PNG\r\n\x1a\n" + chunk(b"tEXt", b"") * 10**5,
    "names of chunks": b"\x89PNG\r\n\x1a\n" + b"eXIf" * 10**5,
    "chunks of pixels": b"\x89PNG\r\n\x1a\n" + chunk(b"IDAT", b"eXIf" * 9) * 10**5,
    "a chunk of the largest size": b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 2**32 - 1) + b"eXIf",
    "XMP without an end": jpeg(segment(b"http://ns.adobe.com/xap/1.0/\0" + b"tiff:Orientation=" * 3000)),
}


@pytest.mark.parametrize("file", LONG.values(), ids=LONG.keys())
def test_no_file_makes_it_run_on(found, file: bytes) -> None:
    start = time.process_time()
    assert found(file) == 1
    assert time.process_time() - start < 10
