"""Decode videos with PyAV."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from spinenet_tf.data.dataset import MAX_PIXELS, ImageError

COMPLETE = 0.9  # of the frames that a video says it has: FFmpeg reads a truncated file without an error


def count_frames(path: Path) -> int:
    """Return the number of frames that a video says it has, 0 if it does not say.

    Raises:
        ImportError, ImageError: as `frames` does before the first frame.
    """
    with _opened(path) as container:
        return _expected(container)


def frames(path: Path, step: int = 1) -> Iterator[tuple[int, np.ndarray | ImageError]]:
    """Yield the number, from 0, and the pixels `[h, w, 3]` uint8 RGB of every `step`-th frame, upright.

    Damaged frames come as an ImageError.

    Raises:
        ImportError: PyAV is not installed.
        ImageError: the file has no video, or frames of more than `MAX_PIXELS`; or, after the frames that could be read,
            it does not decode further or ends early.
    """
    number = -1
    with _opened(path) as container:
        try:
            for number, frame in enumerate(container.decode(container.streams.video[0])):
                if number % step == 0:
                    yield number, _pixels(path, number, frame)
        except _pyav().error.FFmpegError as error:
            raise ImageError(f"{path}: the video cannot be decoded after frame {number} ({error})") from None
        if number + 1 < COMPLETE * (expected := _expected(container)):
            raise ImageError(f"{path}: the video ends after {number + 1} of {expected} frames")


def _expected(container: Any) -> int:
    stream = container.streams.video[0]
    seconds = (container.duration or 0) / _pyav().time_base
    return stream.frames or round(seconds * float(stream.average_rate or 0))


def _pixels(path: Path, number: int, frame: Any) -> np.ndarray | ImageError:
    if frame.is_corrupt:
        return ImageError(f"{path}: frame {number} is damaged")
    return _upright(frame.to_ndarray(format="rgb24"), frame.rotation)


def _upright(pixels: np.ndarray, rotation: float) -> np.ndarray:
    """Turn a frame by its rotation, degrees counterclockwise, as a phone stores a video that it holds upright."""
    return np.ascontiguousarray(np.rot90(pixels, round(rotation / 90)))


def _opened(path: Path) -> Any:
    av = _pyav()
    try:
        container = av.open(str(path))
    except (av.error.FFmpegError, OSError) as error:
        raise ImageError(f"{path}: not a readable video ({error})") from None
    if fault := _fault(container):
        container.close()
        raise ImageError(f"{path}: {fault}")
    container.streams.video[0].thread_type = "AUTO"  # decodes in several threads
    return container


def _fault(container: Any) -> str | None:
    if not container.streams.video:
        return "the file has no video"
    stream = container.streams.video[0]
    too_many = stream.width * stream.height > MAX_PIXELS
    return f"the video has too many pixels ({stream.width} x {stream.height})" if too_many else None


def _pyav() -> Any:
    try:
        import av
    except ImportError:
        raise ImportError("Videos need PyAV: pip install spinenet_tf[video]") from None
    return av
