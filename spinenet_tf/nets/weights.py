"""Check weights files before any weight is read: their checksum, their architecture and their arrays.

A file is HDF5 as Keras writes it, with the architecture as an attribute. At its end, which HDF5 ignores, is a line with
the SHA-256 of all bytes before it (the "seal"). It detects damage; it does not prove who wrote the file.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import h5py

FINGERPRINT = "spinenet_tf_architecture"
NOTE = "spinenet_tf_note"  # facts beside the architecture, such as class names, which do not change the weights
SUFFIX = ".weights.h5"

_SEAL = b"\nspinenet_tf sha256 "
_SEAL_SIZE = len(_SEAL) + 64 + 1
_SHOWN = 12  # rows of a table of shapes
_OWN_FILTERS = range(1, 7)  # HDF5's built-in compression; others load code from plug-ins


class Stored(NamedTuple):
    """A weight in a file."""

    shape: tuple[int, ...] | str
    title: str  # layer name and number of the weight, for people: Keras's paths number layers by class


Shapes = dict[str, Stored]


class ArchitectureError(ValueError):
    """The weights have a different architecture than the model."""


class DamagedWeightsError(OSError, ValueError):
    """The file is damaged. As an OSError, it makes Keras's BackupAndRestore use the previous file."""


def weights_path(filepath: str | os.PathLike) -> Path:
    """Return the path of a weights file, after checking its name.

    Raises:
        ValueError: the name does not end in `.weights.h5`.
    """
    path = Path(filepath)
    if not path.name.endswith(SUFFIX):
        raise ValueError(f"The name of a weights file must end in {SUFFIX}. Received: filepath={str(filepath)!r}")
    return path


def seal(content: bytes | memoryview) -> bytes:
    """Return the checksum line to append to a file with this content."""
    return _SEAL + hashlib.sha256(content).hexdigest().encode() + b"\n"


def check_hash(path: Path, sha256: str) -> None:
    """Compare a file with its expected SHA-256.

    Raises:
        ValueError: the file has another hash.
    """
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256.lower():
        raise ValueError(f"{path} is not the expected file: its SHA-256 is {found}. Received: sha256={sha256!r}")


def _check_seal(path: Path) -> None:
    """Compare a file with its seal, before HDF5 reads it, because HDF5 may hang on damaged bytes."""
    with path.open("rb") as file:
        start = max(0, file.seek(0, os.SEEK_END) - _SEAL_SIZE)
        file.seek(start)
        found = file.read()
        if not found.startswith(_SEAL):
            raise DamagedWeightsError(
                f"{path} has no checksum: it is truncated, or was not written by save_weights of a spinenet_tf model."
            )
        if found[len(_SEAL) : -1] != _digest_until(file, start):
            raise DamagedWeightsError(f"{path} is damaged, nothing was loaded: its checksum does not match.")


def _digest_until(file: io.BufferedReader, end: int) -> bytes:
    digest = hashlib.sha256()
    file.seek(0)
    while end and (chunk := file.read(min(end, 1 << 20))):
        digest.update(chunk)
        end -= len(chunk)
    return digest.hexdigest().encode()


def read_architecture(filepath: str | os.PathLike) -> dict[str, Any]:
    """Return the architecture in a weights file.

    Raises:
        FileNotFoundError: the file does not exist.
        DamagedWeightsError: the file is not a weights file of this package, or is damaged.
    """
    path = Path(filepath)
    if not path.is_file():
        raise FileNotFoundError(f"Weights file not found: {path}.")
    _check_seal(path)
    architecture = _read_object(path, FINGERPRINT, "architecture")
    if architecture is None:
        reason = "it was not written by save_weights of a spinenet_tf model"
        raise DamagedWeightsError(f"{path} contains no architecture: {reason}.")
    return architecture


def read_note(filepath: str | os.PathLike) -> dict[str, Any]:
    """Return the note in a weights file whose architecture was read before; an empty one if it has none.

    Raises:
        DamagedWeightsError: the note is damaged.
    """
    return _read_object(Path(filepath), NOTE, "note") or {}


def _read_object(path: Path, attribute: str, noun: str) -> dict[str, Any] | None:
    """Return the JSON object in an attribute of an HDF5 file; None if there is no such attribute."""
    try:
        with h5py.File(path, "r") as file:
            text = file.attrs.get(attribute)
    except Exception as error:  # HDF5 raises many types: OSError, RuntimeError, KeyError, UnicodeDecodeError, ...
        raise DamagedWeightsError(f"{path} is not a readable HDF5 file: {error}") from error
    if text is None:
        return None
    try:
        found = json.loads(text)
        _flatten(found)
    except (ValueError, TypeError, RecursionError) as error:
        raise DamagedWeightsError(f"{path} contains a damaged {noun}: {error}") from error
    if not isinstance(found, dict):
        raise DamagedWeightsError(f"{path} contains a damaged {noun}. Received: {type(found).__name__}")
    return found


def read_shapes(source: str | os.PathLike | io.BytesIO) -> Shapes:
    """Return the shape of every weight by its path in an HDF5 file, without reading any values.

    Raises:
        DamagedWeightsError: the file is damaged, or contains anything but arrays of numbers of its own: links,
            references, data in or from other files, or data compressed by a plug-in.
    """
    try:
        with h5py.File(source, "r") as file:
            return dict(_walk(file, "", set()))
    except Exception as error:  # as in `read_architecture`
        raise DamagedWeightsError(f"{source} is damaged, nothing was loaded: {error}") from error


def _walk(group: h5py.Group, path: str, seen: set[Any]) -> Iterator[tuple[str, Stored]]:
    layer = group.attrs.get("name")
    for name in group:
        place = f"{path}{name}"
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"{place} is a link, which is not followed")
        item = group[name]
        address = h5py.h5o.get_info(item.id).addr
        if address in seen:  # a group inside itself would never end
            raise ValueError(f"{place} has two names")
        seen.add(address)
        if isinstance(item, h5py.Group):
            yield from _walk(item, f"{place}/", seen)
        else:
            _check_dataset(item, place)
            yield place, Stored(tuple(item.shape), f"{layer}/{name}" if isinstance(layer, str) else place)


def _check_dataset(item: Any, place: str) -> None:
    if not isinstance(item, h5py.Dataset) or item.dtype.kind not in "biufV" or item.dtype.names or item.shape is None:
        raise ValueError(f"{place} is not an array of numbers")
    if item.external or item.is_virtual:
        raise ValueError(f"{place} is stored in another file, which is not read")
    plist = item.id.get_create_plist()
    if any(plist.get_filter(index)[0] not in _OWN_FILTERS for index in range(plist.get_nfilters())):
        raise ValueError(f"{place} is compressed by a plug-in, which is not run")


def have_equal_shapes(theirs: Shapes, ours: Shapes) -> bool:
    """Return whether both have weights of the same shapes at the same paths."""
    return {path: stored.shape for path, stored in theirs.items()} == {path: own.shape for path, own in ours.items()}


def shape_table(theirs: Shapes, ours: Shapes) -> list[str]:
    """Return the lines of a table of the weights whose shapes differ between the file and the model."""
    absent = Stored("absent", "")
    pairs = {path: (theirs.get(path, absent), ours.get(path, absent)) for path in ours | theirs}
    differing = [(own.title or there.title, there, own) for there, own in pairs.values() if there.shape != own.shape]
    if not differing:
        return []
    rows = [("weight", "in the file", "in the model")]
    rows += [(title, str(there.shape), str(own.shape)) for title, there, own in differing[:_SHOWN]]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return lines + ([f"and {len(differing) - _SHOWN} more"] if len(differing) > _SHOWN else [])


def _flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, list) and any(isinstance(entry, dict) for entry in value):
        value = dict(enumerate(value))
    if not isinstance(value, dict):
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, entry in value.items():
        flat |= _flatten(entry, f"{prefix}.{key}" if prefix else str(key))
    return flat


def differences(theirs: dict[str, Any], ours: dict[str, Any]) -> list[str]:
    """Return a line for each value that differs between the architectures of a weights file and a model."""
    theirs, ours = _flatten(theirs), _flatten(json.loads(json.dumps(ours)))
    keys = [key for key in ours | theirs if theirs.get(key) != ours.get(key)]
    return [f"{key}: {theirs.get(key, 'absent')} in the file, {ours.get(key, 'absent')} in the model" for key in keys]
