"""TFRecord files as files: which belong together, their records, and images that lie inside them."""

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
    """One record and where it lies."""

    file: Path
    number: int  # from 0
    offset: int  # of its first byte
    content: bytes

    @property
    def place(self) -> Place:
        """Where it is, for messages."""
        return Place(self.file, f"record {self.number}")

    def image(self, encoded: bytes, name: str) -> RecordImage:
        """Return where the bytes `encoded`, which are part of the record, lie in the file."""
        return RecordImage(self.place, name, self.offset + self.content.index(encoded), len(encoded))


@dataclass(frozen=True)
class RecordImage:
    """An encoded image inside a record, read from the file whenever it is asked for."""

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
    """Tell whether `shard_files` finds anything."""
    return bool(_candidates(path))


def shard_files(path: str | Path) -> list[Path]:
    """Return the files of one data set in order: of a file, a folder, a pattern, or what comes before `-00000-of-`.

    Raises:
        DataError: there are none, one is missing, they belong to several data sets, or one that `path` does not name
            itself is a link that leads out of its folder.
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
        raise DataError(f"{path}: these are several data sets, name one: {some_of(sorted(sets))}")
    total = int(parts[0]["total"]) if parts[0] else 1
    numbers = {int(part["number"]) for part in parts if part}
    missing = [f"{number:05d}" for number in range(total) if parts[0] and number not in numbers]
    if missing or len(files) != total:
        raise DataError(f"{path}: of {total} shards there are {len(files)}; missing: {some_of(missing) or 'none'}")
    return files


def _candidates(path: Path) -> list[Path]:
    """Return all files at `path` that are TFRecord files by their names."""
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
    """Yield the records of an uncompressed TFRecord file; its checksums are verified on the way.

    Raises:
        DataError: the file is corrupt or cannot be read, with the record and its offset. Where `problems` keep going,
            the file ends there.
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
    """Return TensorFlow's reader of a file, which reads no record before it is asked for."""
    options = tf.data.Options()
    options.experimental_optimization.inject_prefetch = False
    return tf.data.TFRecordDataset(str(file)).with_options(options).as_numpy_iterator()


def _next(contents: Iterator[bytes], file: Path, offset: int, size: int) -> bytes:
    try:
        with file.open("rb", buffering=0) as opened:
            opened.seek(offset)
            length = int.from_bytes(opened.read(8), "little")
        # TensorFlow allocates what a header asks for, be it more than there is.
        if offset + _HEADER + length + _FOOTER <= size:
            return next(contents)
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})") from None
    except (tf.errors.OpError, StopIteration):
        pass
    raise DataError(f"the file is corrupt, compressed or no TFRecord file, at byte {offset}")
