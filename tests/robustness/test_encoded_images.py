"""Test a SavedModel's `serve_bytes` with damaged or malicious images."""

from __future__ import annotations

import io
import struct
import time

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from pngs import png_of_16_bits

from spinenet_tf.data.images import read_image
from spinenet_tf.export.serving.functions import bytes_function
from spinenet_tf.export.serving.guard import decode_capped

SECONDS = 10.0  # of CPU time, for one image


@pytest.fixture(scope="module")
def serve_bytes():
    """Return the signature of a detector that always detects one box in the center."""

    @tf.function(input_signature=[tf.TensorSpec((None, 32, 32, 3), tf.float32)])
    def serve(images):
        return {"boxes": tf.tile(tf.constant([[[8.0, 8.0, 24.0, 24.0]]]), [tf.shape(images)[0], 1, 1])}

    return bytes_function(serve).get_concrete_function()


def encoded(format: str, mode: str = "RGB") -> bytes:
    Image.linear_gradient("L").resize((64, 48)).convert(mode).save(file := io.BytesIO(), format)
    return file.getvalue()


def huge(format: str, height: int, width: int) -> bytes:
    """Return a small file whose header claims a size."""
    data = bytearray(encoded(format))
    if format == "PNG":
        struct.pack_into(">II", data, 16, width, height)
    else:
        struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, height, width)
    return bytes(data)


def test_images_below_the_cap_are_served(serve_bytes, promise) -> None:
    modes = {"JPEG": ("RGB", "L"), "PNG": ("RGB", "L", "RGBA")}
    cases = [(format, mode) for format in modes for mode in modes[format]]
    found = serve_bytes(tf.constant([encoded(*case) for case in cases]))
    np.testing.assert_allclose(found["boxes"][:, 0], [[16, 16, 48, 48]] * len(cases))
    promise("Serving: encoded images of every color mode are read", cases=len(cases))


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_what_claims_too_many_pixels_is_refused_before_it_is_decoded(serve_bytes, promise, format) -> None:
    sizes = [(60_000, 60_000), (8_001, 8_000), (65_000, 1_000), (0, 10)] + [(2**31 - 1, 2**31 - 1)] * (format == "PNG")
    for size in sizes:
        start = time.process_time()
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"pixels|Invalid JPEG data"):
            serve_bytes(tf.constant([encoded("JPEG"), huge(format, *size)]))
        assert time.process_time() - start < SECONDS
    promise("Serving: an encoded image that claims too many pixels is refused by its header", cases=len(sizes))


@pytest.fixture(scope="module")
def find():
    """Return the signature of a detector whose only box is the bright area of the network's input."""

    @tf.function(input_signature=[tf.TensorSpec((None, 64, 64, 3), tf.float32)])
    def serve(images):
        bright = tf.reduce_mean(images, axis=-1) > 1.0
        ends = [(tf.reduce_any(bright, axis=axis), axis) for axis in (2, 1)]
        first = [tf.argmax(tf.cast(found, tf.int32), axis=1) for found, _ in ends]
        last = [64 - tf.argmax(tf.cast(found[:, ::-1], tf.int32), axis=1) for found, _ in ends]
        return {"boxes": tf.cast(tf.stack([*first, *last], axis=1), tf.float32)[:, None]}

    return bytes_function(serve).get_concrete_function()


def turned(format: str, value: int, order: str) -> bytes:
    """Return a phone picture with an EXIF orientation: dark except for a bright area, stored as 128 x 96 px."""
    pixels = np.full((96, 128, 3), 5, np.uint8)
    pixels[16:48, 32:112] = 250
    data = struct.pack(f"{order}HIHHHIHHI", 42, 8, 1, 0x0112, 3, 1, value, 0, 0)
    exif = b"Exif\0\0" + (b"II" if order == "<" else b"MM") + data
    Image.fromarray(pixels).save(file := io.BytesIO(), format, exif=exif)
    return file.getvalue()


def test_phone_pictures_are_served_as_predict_sees_them(find, promise, tmp_path) -> None:
    """In all orientations, formats and byte orders, the box is at the bright area of the upright image."""
    cases = [(format, value, order) for format in ("JPEG", "PNG") for value in range(1, 9) for order in "<>"]
    found = find(tf.constant([turned(*case) for case in cases]))["boxes"].numpy()
    boxes = set()
    for case, box in zip(cases, found[:, 0], strict=True):
        (path := tmp_path / "a").write_bytes(turned(*case))
        bright = read_image(path).mean(axis=-1) > 128
        rows, columns = np.flatnonzero(bright.any(1)), np.flatnonzero(bright.any(0))
        np.testing.assert_allclose(
            box, [rows[0], columns[0], rows[-1] + 1, columns[-1] + 1], atol=2.0, err_msg=str(case)
        )
        boxes.add(tuple(box.round()))
    assert len(boxes) == 8
    promise("Serving: the EXIF orientation of an encoded image is applied", cases=len(cases))


def test_damaged_exif_is_served_as_stored(find, promise) -> None:
    whole = turned("JPEG", 6, ">")
    start, count, stored = whole.index(b"MM\0\x2a"), 0, find(tf.constant([turned("JPEG", 1, ">")]))["boxes"]
    for place in range(start, start + 8):  # what names the format, and where its directory is
        damaged = whole[:place] + bytes([whole[place] ^ 0xA5]) + whole[place + 1 :]
        np.testing.assert_array_equal(find(tf.constant([damaged]))["boxes"], stored)
        count += 1
    promise("Serving: damaged EXIF data are ignored", cases=count)


@pytest.fixture(scope="module")
def decode():
    """Return the function that decodes one file."""
    return tf.function(decode_capped, autograph=False).get_concrete_function(tf.TensorSpec((), tf.string))


@pytest.mark.parametrize("declared", [b"", b"\x0c", b"\x10"])
@pytest.mark.parametrize("mode", ["gray", "spread", "color", "alpha"])
def test_deep_pngs_are_decoded_as_predict_does(decode, promise, declared: bytes, mode: str, tmp_path) -> None:
    ramp = np.linspace(0, 4095, 64 * 48).astype(np.uint16).reshape(48, 64)
    channels = {"color": 3, "alpha": 4}.get(mode, 1)
    samples = np.stack([ramp << 4 if mode == "spread" else ramp] * channels, axis=-1)
    (path := tmp_path / "a.png").write_bytes(png_of_16_bits(samples, {1: 0, 3: 2, 4: 6}[channels], declared * channels))
    expected = read_image(path)
    assert len(np.unique(expected)) == (16 if mode != "spread" and declared == b"\x10" else 256)
    np.testing.assert_array_equal(decode(tf.constant(path.read_bytes())), expected)
    promise("Serving: a 16-bit PNG is decoded as by `predict`", cases=1)


def test_damaged_bytes_are_an_error_or_an_image(serve_bytes, promise) -> None:
    rng, refused, count = np.random.default_rng(0), 0, 200
    for number in range(count):
        data = bytearray(encoded(("JPEG", "PNG")[number % 2]))
        if number % 3:
            for place in rng.integers(len(data), size=4):
                data[place] ^= 1 << int(rng.integers(8))
        else:
            del data[int(rng.integers(len(data))) :]
        try:
            assert np.isfinite(serve_bytes(tf.constant([bytes(data)]))["boxes"]).all()
        except tf.errors.InvalidArgumentError:
            refused += 1
    assert count / 4 < refused < count
    promise("Serving: damaged encoded images return an answer or an InvalidArgumentError", cases=count)
