"""Find the shards of TFRecord data sets, and read records and the images inside them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from spinenet_tf._files.messages import some_of
from spinenet_tf.data.dataset import DataError
from spinenet_tf.data.files import check_inside
from spinenet_tf.data.problems import Place, Problems

_SHARD = re.compile(r"(?P<prefix>.*)-(?P<number>\d{5})-of-(?P<total>\d{5})(?P<suffix>.*)")
_HEADER, _FOOTER = 12, 4  # bytes around a record: its length and checksums


@dataclass(frozen=True)
class Record:
    """One record and its location."""

    file: Path
    number: int  # from 0
    offset: int  # of the content's first byte in the file
    content: bytes

    @property
    def place(self) -> Place:
        """Return the location for messages."""
        return Place(self.file, f"record {self.number}")

    def image(self, encoded: bytes, name: str) -> RecordImage:
        """Return the location in the file of the bytes `encoded`, which are part of the record."""
        return RecordImage(self.place, name, self.offset + self.content.index(encoded), len(encoded))


@dataclass(frozen=True)
class RecordImage:
    """An encoded image inside a record, read from the file on demand."""

    place: Place
    name: str
    offset: int  # in the file
    length: int

    def read_bytes(self) -> bytes:
        """Return the encoded image."""
        with self.place.file.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.length)

    def __str__(self) -> str:
        return str(self.place)


def has_shards(path: Path) -> bool:
    """Return whether `shard_files` finds any files."""
    return bool(_candidates(path))


def shard_files(path: str | Path) -> list[Path]:
    """Return the shards of one data set in order; `path` is a file, folder, pattern, or the part before `-00000-of-`.

    Raises:
        DataError: there are no files, a shard is missing, the files belong to several data sets, or a file (other than
            `path`) is a link that leads out of its folder.
    """
    path = Path(path)
    if path.is_file():
        return [path]
    files = _candidates(path)
    if not files:
        raise DataError(f"{path}: there are no TFRecord files")
    for file in files:
        check_inside(file, file.parent)
    parts = [_SHARD.fullmatch(file.name) for file in files]
    sets = {file.name if part is None else part["prefix"] for file, part in zip(files, parts, strict=True)}
    if len(sets) > 1:
        raise DataError(f"{path}: there are several data sets; choose one: {some_of(sorted(sets))}")
    total = int(parts[0]["total"]) if parts[0] else 1
    numbers = {int(part["number"]) for part in parts if part}
    missing = [f"{number:05d}" for number in range(total) if parts[0] and number not in numbers]
    if missing or len(files) != total:
        raise DataError(f"{path}: found {len(files)} of {total} shards; missing: {some_of(missing) or 'none'}")
    return files


def _candidates(path: Path) -> list[Path]:
    """Return all files at `path` that are named like TFRecord files."""
    found: Iterable[Path] = [path]
    if path.is_dir():
        found = path.iterdir()
    elif not path.is_file():
        found = path.parent.glob(path.name if "*" in path.name else f"{path.name}-*")
    return sorted(
        file
        for file in found
        if not file.name.startswith(".")
        and (".tfrecord" in file.name or _SHARD.fullmatch(file.name))
        and file.is_file()
    )


def records(file: Path, problems: Problems) -> Iterator[Record]:
    """Yield the records of an uncompressed TFRecord file, verifying the checksums.

    Raises:
        DataError: the file is corrupt or cannot be read; the message has the record and its offset. With
            `problems.keep_going`, reading ends there instead.
    """
    number, offset, size = 0, 0, file.stat().st_size
    contents = iter(_one_by_one(file))
    while offset != size:
        content = None
        with problems.at(Place(file, f"record {number}")):
            content = _next(contents, file, offset, size)
        if content is None:
            return
        yield Record(file, number, offset + _HEADER, content)
        number, offset = number + 1, offset + _HEADER + len(content) + _FOOTER


def _one_by_one(file: Path) -> Iterator[bytes]:
    """Return an iterator over a file's records that reads each record only on demand."""
    options = tf.data.Options()
    options.experimental_optimization.inject_prefetch = False
    return tf.data.TFRecordDataset(str(file)).with_options(options).as_numpy_iterator()


def _next(contents: Iterator[bytes], file: Path, offset: int, size: int) -> bytes:
    try:
        with file.open("rb", buffering=0) as opened:
            opened.seek(offset)
            length = int.from_bytes(opened.read(8), "little")
        # TensorFlow allocates the length in the header, even if the file is shorter.
        if offset + _HEADER + length + _FOOTER <= size:
            return next(contents)
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})") from None
    except (tf.errors.OpError, StopIteration):
        pass
    raise DataError(f"the file is corrupt, compressed or not a TFRecord file, at byte {offset}")
