"""Open .onnx files with ONNX Runtime, and read their properties without it."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from spinenet_tf._files import native_output
from spinenet_tf.inference.naming import INPUT

# Field numbers in onnx.proto: of `ModelProto.metadata_props`, and of the key and the value of such a property.
_PROPERTIES, _KEY, _VALUE = 14, 1, 2
# Bytes of a protobuf field by its wire type; types 0 and 2 have their own rules.
_FIXED = {1: 8, 5: 4}


def has_onnx_runtime() -> bool:
    """Return whether the package `onnxruntime` is installed."""
    return find_spec("onnxruntime") is not None


def open_session(path: Path, threads: int | None = None) -> Any:
    """Return ONNX Runtime's session of a file on the CPU; by default it uses all cores.

    Raises:
        ImportError: onnxruntime is not installed.
        ValueError: ONNX Runtime cannot load the file.
    """
    if not has_onnx_runtime():
        raise ImportError(f"ONNX files need onnxruntime: pip install spinenet_tf[onnx]. Received: {path}")
    onnxruntime = import_module("onnxruntime")  # an extra, which may be missing when types are checked
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    try:
        with native_output.hidden():
            return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no base class of their own
        raise ValueError(f"ONNX Runtime cannot load {path}: {error}") from error


def session_runner(path: Path, threads: int | None = None) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Return a function from a batch of images to the outputs by name; raises as `open_session` does."""
    session = open_session(path, threads)
    names = [output.name for output in session.get_outputs()]
    return lambda images: dict(zip(names, session.run(names, {INPUT: images}), strict=True))


def read_property(path: Path, key: str) -> bytes:
    """Return the value of a property of an .onnx file.

    Raises:
        KeyError: the file has no such property.
        OSError, ValueError, IndexError: the file cannot be read, or is damaged.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for number, start, end in _fields(content, 0, len(content)):
            if number == _PROPERTIES:
                entry = {name: content[first:last] for name, first, last in _fields(content, start, end)}
                if entry.get(_KEY) == key.encode():
                    return entry.get(_VALUE, b"")
    raise KeyError(key)


def _fields(content: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield the number, start and end of each text or message among the fields of a protobuf message."""
    while at < end:
        tag, at = _varint(content, at)
        if tag & 7 == 2:
            size, at = _varint(content, at)
            yield tag >> 3, at, at + size
            at += size
        elif tag & 7 == 0:
            _, at = _varint(content, at)
        elif tag & 7 in _FIXED:
            at += _FIXED[tag & 7]
        else:
            raise ValueError(f"A protobuf has no fields of wire type {tag & 7}.")


def _varint(content: mmap.mmap, at: int) -> tuple[int, int]:
    """Return the integer of variable length that starts at a position, and the position after it."""
    value = 0
    for shift in range(0, 64, 7):
        byte = content[at + shift // 7]
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at + shift // 7 + 1
    raise ValueError("An integer in a protobuf has at most 10 bytes.")
