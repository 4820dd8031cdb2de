"""Frames of videos are decoded upright, and a damaged video is an error with the frame that it ends at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spinenet_tf.data.dataset import ImageError
from spinenet_tf.inference.videos import _upright, count_frames, frames

av = pytest.importorskip("av")
COUNT = 12


def write(path: Path) -> Path:
    """Write a video of 48 x 64 px whose frame n has the mean value 8 * n + 75."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        random = np.random.default_rng(0)  # noise, so that a frame has many bytes
        for number in range(COUNT):
            pixels = random.integers(8 * number, 8 * number + 150, (48, 64, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write(tmp_path / "clip.mp4")


def test_every_nth_frame_is_decoded(video: Path) -> None:
    assert count_frames(video) == COUNT
    found = list(frames(video, step=5))
    assert [number for number, _ in found] == [0, 5, 10]
    for number, pixels in found:
        assert (pixels.shape, pixels.dtype) == ((48, 64, 3), np.uint8)
        assert pixels.mean() == pytest.approx(8 * number + 75, abs=3)


def test_a_frame_that_is_stored_turned_is_turned_back() -> None:
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    np.testing.assert_array_equal(_upright(pixels, -90), np.rot90(pixels, -1))
    np.testing.assert_array_equal(_upright(pixels, 0), pixels)


def test_a_damaged_frame_is_an_error_among_the_others(video: Path) -> None:
    whole, middle = video.read_bytes(), video.stat().st_size // 2
    video.write_bytes(whole[:middle] + bytes(60) + whole[middle + 60 :])
    found = dict(frames(video))
    damaged = [number for number, pixels in found.items() if isinstance(pixels, ImageError)]
    assert len(found) == COUNT
    assert 0 < len(damaged) < COUNT
    assert str(found[damaged[0]]) == f"{video}: frame {damaged[0]} is damaged"


@pytest.mark.parametrize("suffix", [".mkv", ".avi"])
def test_a_truncated_video_ends_with_an_error(tmp_path: Path, suffix: str) -> None:
    video = write(tmp_path / f"clip{suffix}")
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    found = []
    with pytest.raises(ImageError, match=rf"clip\{suffix}: the video ends after \d of \d+ frames"):
        found.extend(frames(video))
    assert 0 < len(found) < COUNT


@pytest.mark.parametrize("content", [b"", b"no video", None])
def test_what_is_no_video_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "clip.mp4"
    if content is not None:
        path.write_bytes(content)
    for read in (count_frames, lambda path: list(frames(path))):
        with pytest.raises(ImageError, match=r"clip\.mp4: not a readable video"):
            read(path)


def test_a_file_with_sound_only_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(ImageError, match=r"sound\.mp4: the file has no video"):
        count_frames(path)
