"""Test decoding of common images, rejection of harmful ones, and exact normalizing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pngs import png

from spinenet_tf.data.dataset import DataError
from spinenet_tf.data.images import normalize, read_image, read_size
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
