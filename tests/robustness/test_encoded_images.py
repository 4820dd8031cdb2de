"""What a SavedModel's `serve_bytes` does with encoded images that are damaged or hostile."""

from __future__ import annotations

import io
import struct
import time

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from spinenet_tf.export.serving import bytes_function

SECONDS = 10.0


@pytest.fixture(scope="module")
def serve_bytes():
    """Return the signature around a detector that finds one box in the middle of anything."""

    @tf.function(input_signature=[tf.TensorSpec((None, 32, 32, 3), tf.float32)])
    def serve(images):
        return {"boxes": tf.tile(tf.constant([[[8.0, 8.0, 24.0, 24.0]]]), [tf.shape(images)[0], 1, 1])}

    return bytes_function(serve)


def encoded(form: str, mode: str = "RGB") -> bytes:
    Image.linear_gradient("L").resize((64, 48)).convert(mode).save(file := io.BytesIO(), form)
    return file.getvalue()


def huge(form: str, height: int, width: int) -> bytes:
    """Return a small file whose header claims a size."""
    data = bytearray(encoded(form))
    if form == "PNG":
        struct.pack_into(">II", data, 16, width, height)
    else:
        struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, height, width)
    return bytes(data)


def test_images_below_the_cap_are_served(serve_bytes, promise) -> None:
    cases = [(form, mode) for form, modes in (("JPEG", ("RGB", "L")), ("PNG", ("RGB", "L", "RGBA"))) for mode in modes]
    found = serve_bytes(tf.constant([encoded(*case) for case in cases]))
    np.testing.assert_allclose(found["boxes"][:, 0], [[16, 16, 48, 48]] * len(cases))
    promise("Serving: encoded images of every colour mode are read", cases=len(cases))


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_what_claims_too_many_pixels_is_refused_before_it_is_decoded(serve_bytes, promise, form) -> None:
    sizes = [(60_000, 60_000), (8_001, 8_000), (65_000, 1_000), (0, 10)] + [(2**31 - 1, 2**31 - 1)] * (form == "PNG")
    for size in sizes:
        start = time.perf_counter()
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"pixels|Invalid JPEG data"):
            serve_bytes(tf.constant([encoded("JPEG"), huge(form, *size)]))
        assert time.perf_counter() - start < SECONDS
    promise("Serving: an encoded image that claims too many pixels is refused by its header", cases=len(sizes))


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
    promise("Serving: damaged encoded images give an InvalidArgumentError or an answer", cases=count)
