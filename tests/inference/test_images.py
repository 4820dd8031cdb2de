"""What a user may pass as an image, and which images a folder has."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from spinenet_tf.data.formats.digits import write_digits
from spinenet_tf.data.formats.tfrecord_writer import write_tfrecord
from spinenet_tf.data.images import read_image
from spinenet_tf.data.reading import load, read
from spinenet_tf.inference.images import as_pixels

PHOTO = np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8)


def test_arrays_are_copied(tmp_path: Path) -> None:
    given = PHOTO.copy()
    for image in (given, given[:, ::-1], tf.constant(given)):
        found = as_pixels(image)
        np.testing.assert_array_equal(found, np.asarray(image))
        assert not np.shares_memory(found, given)


def test_an_image_inside_a_record_is_read(tmp_path: Path) -> None:
    """The `path` of an example of a TFRecord data set is a part of a file."""
    folder = write_digits(tmp_path, 2)[0].parent
    write_tfrecord(load(folder), tmp_path / "records", shards=1)
    records, files = read(tmp_path / "records"), read(folder)
    assert not isinstance(records[1].path, Path)
    np.testing.assert_array_equal(as_pixels(records[1].path), as_pixels(files[1].path))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "PA", "1", "CMYK", "YCbCr", "HSV", "I;16"])
def test_pillow_images_of_all_modes_are_what_their_file_is(tmp_path: Path, mode: str) -> None:
    if mode == "I;16":
        image = Image.fromarray(PHOTO[..., 0].astype(np.uint16) * 257)
    else:
        image = Image.fromarray(PHOTO).convert("L" if mode == "LA" else "RGB").convert(mode if mode != "PA" else "P")
        image = image.convert(mode)
    found = as_pixels(image)
    assert (found.shape, found.dtype) == (PHOTO.shape, np.uint8)
    shown = image if mode != "I;16" else Image.fromarray(PHOTO[..., 0])
    np.testing.assert_array_equal(found, np.asarray(shown.convert("RGB")))
    if mode in ("RGB", "RGBA", "L", "LA", "P", "1", "I;16"):
        image.save(tmp_path / "a.png")
        for path in (tmp_path / "a.png", str(tmp_path / "a.png")):
            np.testing.assert_array_equal(as_pixels(path), found)


def test_unscaled_gray_values_of_12_bits_are_scaled() -> None:
    values = np.arange(240, dtype=np.uint16).reshape(12, 20) * 17
    found = as_pixels(Image.fromarray(values))
    np.testing.assert_array_equal(found[..., 0], values >> 4)


def test_a_transparent_palette_keeps_its_colors(tmp_path: Path) -> None:
    image = Image.fromarray(PHOTO).quantize(8)
    image.info["transparency"] = 3
    np.testing.assert_array_equal(as_pixels(image), np.asarray(image.convert("RGBA").convert("RGB")))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_pillow_images_are_turned_upright_as_files_are(tmp_path: Path, orientation: int, suffix: str) -> None:
    path, exif = tmp_path / f"turned{suffix}", Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(PHOTO).save(path, exif=exif)
    with Image.open(path) as image:
        found = as_pixels(image)
        np.testing.assert_array_equal(found, np.asarray(ImageOps.exif_transpose(image)))
        np.testing.assert_array_equal(as_pixels(image.convert("RGB")), found)
        np.testing.assert_array_equal(as_pixels(ImageOps.exif_transpose(image)), found)
    np.testing.assert_array_equal(read_image(path), found)


def cut_file(folder: Path) -> Image.Image:
    file = io.BytesIO()
    Image.fromarray(PHOTO).resize((400, 400)).save(file, "JPEG")
    return Image.open(io.BytesIO(file.getvalue()[:-4000]))


def closed_file(folder: Path) -> Image.Image:
    Image.fromarray(PHOTO).save(folder / "a.png")
    with Image.open(folder / "a.png") as image:
        return image


REFUSED = {
    "nothing": (lambda folder: None, "An image must be a path, a PIL image or an array .*of type NoneType"),
    "bytes": (lambda folder: b"abc", "of type bytes"),
    "a number": (lambda folder: 3, "of type int"),
    "no file": (lambda folder: folder / "a.jpg", "a.jpg: no such image file"),
    "a folder": (lambda folder: folder, "not a file"),
    "floats": (lambda folder: PHOTO / 255, "floats may mean 0..1 or 0..255.* Received: dtype=float64"),
    "half floats": (lambda folder: PHOTO.astype(np.float16), "floats may mean 0..1 or 0..255"),
    "integers": (lambda folder: PHOTO.astype(int), "must have uint8 pixels. Received: dtype=int64"),
    "truth values": (lambda folder: PHOTO > 9, "must have uint8 pixels. Received: dtype=bool"),
    "a batch": (lambda folder: PHOTO[None], r"Pass a batch of images as a list of arrays: list\(images\)"),
    "a tensor of floats": (lambda folder: tf.zeros((9, 9, 3)), "floats may mean 0..1 or 0..255"),
    "gray": (lambda folder: PHOTO[..., 0], r"must have the shape \[height, width, 3\]. Received: shape=\(12, 20\)"),
    "alpha": (lambda folder: np.zeros((9, 9, 4), np.uint8), r"Received: shape=\(9, 9, 4\)"),
    "no pixels": (lambda folder: PHOTO[:0], r"Received: shape=\(0, 20, 3\)"),
    "a PIL image without pixels": (lambda folder: Image.new("RGB", (0, 5)), r"the image has no pixels \(0 x 5\)"),
    "a PIL image of floats": (lambda folder: Image.new("F", (5, 5)), "mode F may have values of any range"),
    "a PIL image of 32 bits": (lambda folder: Image.new("I", (5, 5)), "mode I may have values of any range"),
    "a truncated file in Pillow": (cut_file, "the image cannot be decoded"),
    "a closed file in Pillow": (closed_file, "the image cannot be decoded"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_everything_else_is_refused(name: str, tmp_path: Path) -> None:
    make, message = REFUSED[name]
    with pytest.raises(ValueError, match=message) as caught:
        as_pixels(make(tmp_path))
    assert "\n" not in str(caught.value)
