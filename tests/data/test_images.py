"""Test decoding of common images, rejection of harmful ones, and exact preprocessing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from pngs import png

from spinenet_tf.data.dataset import DataError
from spinenet_tf.data.images import normalize, place, preprocess, read_image, read_size
from spinenet_tf.ops.pixels import MEAN, STD


def picture(height: int = 12, width: int = 20) -> np.ndarray:
    """Return a smooth `[H, W, 3]` uint8 image in which every corner differs."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    return (255 * np.stack([y, x, (1 - y) * (1 - x)], axis=-1)).astype(np.uint8)


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "gif", "webp"])
def test_every_allowed_format_decodes_to_rgb(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(picture()).save(path := tmp_path / f"a.{suffix}")
    image = read_image(path)
    assert (image.shape, image.dtype) == ((12, 20, 3), np.uint8)
    assert np.abs(image.astype(int) - picture()).mean() < 12  # the lossy ones, and GIF's palette


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "CMYK"])
def test_every_color_mode_comes_out_as_rgb(tmp_path: Path, mode: str) -> None:
    original = Image.fromarray(picture()).convert(mode)
    original.save(path := tmp_path / ("a.jpg" if mode == "CMYK" else "a.png"))
    image = read_image(path)
    assert image.shape == (12, 20, 3)
    assert np.abs(image.astype(int) - np.asarray(original.convert("RGB"))).mean() < 4


def test_palette_with_transparency_decodes_silently(tmp_path: Path) -> None:
    image = Image.fromarray(picture()).convert("P")
    image.save(path := tmp_path / "a.png", transparency=bytes(range(256)))
    assert read_image(path).shape == (12, 20, 3)


def test_sixteen_bit_gray_is_scaled_not_clipped(tmp_path: Path) -> None:
    gray = np.linspace(0, 65535, 240).reshape(12, 20).astype(np.uint16)
    Image.fromarray(gray).save(path := tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(path), np.repeat((gray >> 8)[..., None], 3, axis=-1))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_by_pixels_and_by_header(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(picture()).save(path := tmp_path / "a.png", exif=exif)
    p, mirrored = picture(), picture()[:, ::-1]
    upright = [
        p,
        mirrored,
        p[::-1, ::-1],
        p[::-1],
        p.swapaxes(0, 1),
        np.rot90(p, -1),
        p[::-1, ::-1].swapaxes(0, 1),
        np.rot90(p),
    ]
    np.testing.assert_array_equal(read_image(path), upright[orientation - 1])
    assert read_size(path) == upright[orientation - 1].shape[:2]


@pytest.mark.parametrize("side", [8_001, 60_000])
def test_too_many_pixels_are_refused_from_the_header(tmp_path: Path, side: int) -> None:
    (path := tmp_path / "bomb.png").write_bytes(png(side, side))
    for read in (read_image, read_size):
        with pytest.raises(DataError, match=r"bomb\.png: the image has too many pixels"):
            read(path)


@pytest.mark.parametrize("content", [b"", b"hello", b"GIF89a", b"\xff\xd8\xff\xe0\x00\x10JFIF"])
def test_what_is_no_image_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (path := tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.jpg: "):
        read_image(path)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_a_truncated_file_is_refused_by_name(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(path := tmp_path / f"a.{suffix}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=rf"a\.{suffix}: "):
        read_image(path)


def test_formats_off_the_list_and_missing_files_are_refused(tmp_path: Path) -> None:
    Image.fromarray(picture()).save(path := tmp_path / "a.tiff")
    with pytest.raises(DataError, match="not a readable image in one of the formats JPEG, PNG"):
        read_image(path)
    with pytest.raises(DataError, match="no such image file"):
        read_image(tmp_path / "none.jpg")


def test_normalizing_is_the_published_formula() -> None:
    expected = (picture() / 255.0 - MEAN) / STD
    np.testing.assert_allclose(normalize(picture()), expected, atol=1e-5)


@pytest.mark.parametrize(("size", "target", "scale"), [((50, 100), (64, 64), 0.64), ((30, 20), (64, 96), 32 / 15)])
def test_an_image_is_fitted_by_its_limiting_side(size, target, scale) -> None:
    image, found = preprocess(picture(*size), *target)
    assert float(found) == pytest.approx(scale)
    assert (image.shape, image.dtype) == ((*target, 3), tf.float32)


def test_padding_is_zero_after_normalizing_and_the_content_is_the_bilinear_resize() -> None:
    image, _ = preprocess(picture(50, 100), 64, 64)
    assert not np.any(image[32:])
    expected = normalize(tf.image.resize(picture(50, 100), (32, 64)))
    np.testing.assert_allclose(image[:32], expected, atol=1e-5)


@pytest.mark.parametrize("size", [(37, 100), (101, 33), (64, 64), (1, 90), (300, 4), (33, 47)])
def test_no_dark_edge_appears_between_content_and_padding(size: tuple[int, int]) -> None:
    white = np.full((*size, 3), 255, np.uint8)
    image, scale = preprocess(white, 64, 64)
    value = normalize(white[0, 0]).numpy()
    covered = np.abs(image.numpy()).sum(axis=-1) > 0
    np.testing.assert_allclose(image.numpy()[covered], np.tile(value, (covered.sum(), 1)), atol=1e-4)
    assert covered.sum(axis=0).max() == pytest.approx(size[0] * float(scale), abs=0.51)
    assert covered.sum(axis=1).max() == pytest.approx(size[1] * float(scale), abs=0.51)


def test_a_point_lands_where_scale_and_offset_say() -> None:
    y, x = np.mgrid[0:90, 0:70]
    image = np.stack([y * 2, x * 3, y * 0], axis=-1).astype(np.uint8)
    placed = place(tf.constant(image), tf.constant(0.77), tf.constant([5.3, 2.9]), 40, 32)
    pixels = placed.numpy() * STD * 255 + np.array(MEAN) * 255
    rows, columns = np.mgrid[0:40, 0:32]
    np.testing.assert_allclose(pixels[..., 0], 2 * ((rows + 0.5 + 5.3) / 0.77 - 0.5), atol=1e-2)
    np.testing.assert_allclose(pixels[..., 1], 3 * ((columns + 0.5 + 2.9) / 0.77 - 0.5), atol=1e-2)


@pytest.mark.parametrize(
    "image", [np.zeros((8, 8, 3), np.float32), np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8)]
)
def test_anything_but_uint8_rgb_is_refused(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"An image must be uint8 \[height, width, 3\]. Received: shape="):
        preprocess(image, 32, 32)
