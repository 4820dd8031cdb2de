"""Test 16-bit PNG files with full range, and with unscaled values of fewer bits."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pngs import png_of_16_bits

from spinenet_tf.data import deep_png
from spinenet_tf.data.dataset import DataError
from spinenet_tf.data.images import read_image

RAMP = np.linspace(0, 4095, 12 * 20).astype(np.uint16).reshape(12, 20)  # what 12 bits hold


@pytest.fixture(autouse=True)
def forget_what_was_said() -> None:
    deep_png._warned.clear()


def gray(samples: np.ndarray, declared: bytes = b"") -> bytes:
    """Return `[H, W]` uint16 as a PNG, with an sBIT chunk if `declared`."""
    info = PngInfo()
    if declared:
        info.add(b"sBIT", declared)
    Image.fromarray(samples).save(file := io.BytesIO(), "PNG", pnginfo=info)
    return file.getvalue()


def read(path: Path, encoded: bytes) -> np.ndarray:
    path.write_bytes(encoded)
    return read_image(path)


def in_colors(samples: np.ndarray) -> np.ndarray:
    return np.repeat(samples.astype(np.uint8)[..., None], 3, axis=-1)


@pytest.mark.parametrize("declared", [b"", b"\x0c"])
def test_twelve_bits_in_sixteen_keep_their_levels(tmp_path: Path, declared: bytes) -> None:
    image = read(tmp_path / "a.png", gray(RAMP, declared))
    np.testing.assert_array_equal(image, in_colors(RAMP >> 4))
    assert len(np.unique(image)) > 200


@pytest.mark.parametrize(("bits", "largest"), [(8, 255), (10, 256), (10, 1023), (12, 1024), (14, 16383), (16, 16384)])
def test_undeclared_values_are_scaled_by_the_fewest_bits_that_hold_them(
    tmp_path: Path, bits: int, largest: int
) -> None:
    samples = (RAMP.astype(np.int64) * largest // 4095).astype(np.uint16)
    np.testing.assert_array_equal(read(tmp_path / "a.png", gray(samples)), in_colors(samples >> (bits - 8)))


def test_a_dark_picture_of_a_declared_range_stays_dark(tmp_path: Path) -> None:
    dark = RAMP >> 3
    np.testing.assert_array_equal(read(tmp_path / "a.png", gray(dark, b"\x0c")), in_colors(dark >> 4))
    np.testing.assert_array_equal(read(tmp_path / "a.png", gray(dark, b"\x10")), in_colors(dark >> 8))


@pytest.mark.parametrize(
    "spread", [lambda v: v << 4, lambda v: v << 4 | v >> 8, lambda v: np.round(v * (65535 / 4095))]
)
@pytest.mark.parametrize("declared", [b"", b"\x0c"])
@pytest.mark.parametrize("largest", [4095, 255, 90])
def test_values_that_the_encoder_spread_over_all_bits_are_not_scaled_again(
    tmp_path: Path, spread, declared: bytes, largest: int
) -> None:
    """This follows the standard for any sBIT, also for dark images whose values fit in 12 bits."""
    samples = spread(RAMP.astype(np.int64) * largest // 4095).astype(np.uint16)
    np.testing.assert_array_equal(read(tmp_path / "a.png", gray(samples, declared)), in_colors(samples >> 8))


@pytest.mark.parametrize(("kind", "channels"), [(2, 3), (4, 2), (6, 4)])
@pytest.mark.parametrize("declared", [False, True])
def test_colors_and_alpha_are_scaled_alike_and_alpha_does_not_count(
    tmp_path: Path, kind: int, channels: int, declared: bool
) -> None:
    samples = np.stack([RAMP, RAMP.T.reshape(12, 20), RAMP // 2, np.full_like(RAMP, 65535)], axis=-1)
    expected = samples[..., :3] if channels > 2 else samples[..., :1]
    samples = np.concatenate([expected, samples[..., 3:]], axis=-1)[..., :channels]
    encoded = png_of_16_bits(samples, kind, bytes([12] * min(channels, 3) + [16])[:channels] if declared else b"")
    image = read(tmp_path / "a.png", encoded)
    np.testing.assert_array_equal(image, np.broadcast_to(expected >> 4, (12, 20, 3)))


def test_a_full_range_keeps_its_upper_bits_in_every_color_type(tmp_path: Path) -> None:
    full = np.random.default_rng(0).integers(0, 65536, (12, 20, 3), np.uint16)
    np.testing.assert_array_equal(read(tmp_path / "a.png", png_of_16_bits(full, 2)), full >> 8)


def test_black_stays_black(tmp_path: Path) -> None:
    assert not read(tmp_path / "a.png", gray(RAMP * 0)).any()


def test_a_guess_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        for name in "ab":
            read(tmp_path / f"{name}.png", gray(RAMP))
        read(tmp_path / "c.png", gray(RAMP, b"\x0c"))
        read(tmp_path / "d.png", gray(RAMP << 4))
    (record,) = caplog.records
    assert "a.png" in record.getMessage()
    assert "read as 12-bit images" in record.getMessage()


@pytest.mark.parametrize("declared", [b"\0", b"\x11", b"\xff\xff\xff"])
def test_a_declaration_that_cannot_be_counts_as_none(tmp_path: Path, declared: bytes) -> None:
    np.testing.assert_array_equal(read(tmp_path / "a.png", gray(RAMP, declared)), in_colors(RAMP >> 4))


def test_a_damaged_file_is_refused_by_name(tmp_path: Path) -> None:
    for encoded in (gray(RAMP)[:-60], png_of_16_bits(np.stack([RAMP] * 3, -1), 2)[:-60]):
        with pytest.raises(DataError, match=r"a\.png: the image cannot be decoded"):
            read(tmp_path / "a.png", encoded)
