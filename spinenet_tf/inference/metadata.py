"""What a program needs to know to run an artifact: a JSON and a labels file, in the artifact and beside a .tflite."""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from spinenet_tf.heads.head import Head
from spinenet_tf.heads.table import find_head, modern_metadata

FORMAT = 4  # raised when a reader of the older format would misread the newer one
READ = (2, 3, FORMAT)
_RENAMED = {"form": "output_kind", "centre": "center"}  # of formats 2 and 3  # codespell:ignore
METADATA, LABELS = "metadata.json", "labels.txt"
ASSETS = "assets"  # the folder of a SavedModel for its users' files

_TASKS = ("detection", "classification", "backbone")
_OUTPUT_KINDS = ("raw", "decoded", "detections", "postprocess")


@dataclass(frozen=True)
class Metadata:
    """Describe an artifact; all fields are plain JSON types."""

    task: str  # "detection", "classification" or "backbone"
    model: str  # the name of the architecture
    quantization: str  # "none", "fp16", "dynamic", "int8" or "int16x8"
    input: dict[str, Any]  # name, shape, dtype, layout, color, mean, std, normalization, fit, a classifier's center
    outputs: dict[str, dict[str, Any]]  # by name: shape, dtype, layout
    class_names: list[str]  # by class, empty for a backbone
    head: str | None = None  # its name in the table of heads; None of a backbone
    options: dict[str, Any] = field(default_factory=dict)  # of the head
    graph: dict[str, Any] = field(default_factory=dict)  # of the backbone, as `ArchitectureSpec.from_config` takes it
    float_layers: list[str] = field(default_factory=list)  # of "int8": what computes in float, by Keras's names
    output_kind: str = "raw"  # "raw", "decoded", "detections" or "postprocess"
    format: int = FORMAT

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the input in pixels."""
        _, height, width, _ = self.input["shape"]
        return height, width

    @property
    def center(self) -> float:
        """The side of a classifier's central crop, see `data.input.class_pipeline.central_crop`.

        Raises:
            ValueError: it is missing: only a classifier's file has it.
        """
        if "center" not in self.input:
            raise ValueError(f"The metadata name no central crop. Received: task={self.task!r}, model={self.model!r}")
        return self.input["center"]

    def known_head(self) -> tuple[Head, Any]:
        """Return the row of the head in the table of heads, and its options.

        Raises:
            ValueError: there is no such head or option: a backbone has none.
        """
        row = find_head(self.head or "", self.task)
        return row, row.options.of(self.options)

    def write(self, folder: Path, stem: str = "") -> None:
        """Write `metadata.json` and, where there are classes, `labels.txt`, prefixed by `stem.` if there is one."""
        for name, text in self._files().items():
            (folder / (f"{stem}.{name}" if stem else name)).write_text(text, encoding="utf-8")

    def append_to(self, file: Path) -> None:
        """Append the same files to a .tflite as a zip: interpreters read from the front, zip readers from the end."""
        with zipfile.ZipFile(file, "a") as archive:
            for name, text in self._files().items():
                # Without ZipInfo's fixed date, equal models would give unequal files.
                archive.writestr(zipfile.ZipInfo(name), text.encode())

    def _files(self) -> dict[str, str]:
        files = {METADATA: json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"}
        return files | ({LABELS: "\n".join(self.class_names) + "\n"} if self.class_names else {})


def with_slots(metadata: Metadata, max_detections: int) -> Metadata:
    """Return the metadata of a detector that is to be decoded to so many detections.

    Raises:
        ValueError: the file does its NMS itself, for another number.
    """
    given = metadata.known_head()[1].max_detections
    if metadata.output_kind in ("detections", "postprocess") and max_detections != given:
        raise ValueError(
            f"The file gives up to {given} detections of an image, whatever is asked. Received: {max_detections=}"
        )
    return replace(metadata, options=metadata.options | {"max_detections": max_detections})


def read_metadata(path: str | Path) -> Metadata:
    """Return the metadata of a .tflite file or a SavedModel's folder.

    Keys that a later version added are passed over.

    Raises:
        FileNotFoundError: there is no such artifact.
        ValueError: it carries no metadata, metadata of a newer format, or damaged ones: the message names the key.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"There is no exported model {path}.")
    fields = _metadata_in(path)
    if not fields:
        raise ValueError(f"{path} carries no metadata: it was not written by spinenet_tf.export.")
    if fields.get("format") not in READ:
        raise ValueError(
            f"{path} has metadata of another version; this one reads {READ}. Received: {fields.get('format')!r:.100}"
        )
    try:
        return _checked(_modern(fields))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} has damaged metadata: {' '.join(str(error).split()):.250}") from None


def is_metadata(content: str | bytes) -> bool:
    """Return whether a text is what this package writes as an artifact's metadata, in whichever version."""
    return bool(_as_object(content).keys() >= {"task", "model", "quantization", "input", "outputs"})


def _metadata_in(path: Path) -> dict[str, Any]:
    """Return the JSON object that an artifact carries; an empty one if it carries none."""
    try:
        if path.is_dir():
            return _as_object((path / ASSETS / METADATA).read_bytes())
        with zipfile.ZipFile(path) as archive:
            return _as_object(archive.read(METADATA))
    # What the zip module finds in damaged files: RuntimeError where they seem encrypted.
    except (OSError, KeyError, ValueError, RuntimeError, EOFError, zlib.error, zipfile.BadZipFile, struct.error):
        return {}


def _as_object(content: str | bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _modern(fields: dict[str, Any]) -> dict[str, Any]:
    """Return metadata of any format that is read as this version writes them."""
    if fields["format"] == 2:
        fields = modern_metadata(fields)
    if fields["format"] == FORMAT:
        return fields
    renamed = _renamed(fields) | {"format": FORMAT}
    return renamed | {"input": _renamed(renamed["input"])} if isinstance(renamed.get("input"), dict) else renamed


def _renamed(fields: dict[str, Any]) -> dict[str, Any]:
    return {_RENAMED.get(key, key): value for key, value in fields.items()}


def _checked(fields: dict[str, Any]) -> Metadata:
    """Return metadata that can be used; raises ValueError or TypeError that begins with the key at fault."""
    metadata = _typed(Metadata, fields)
    for key, valid in (("task", _TASKS), ("output_kind", _OUTPUT_KINDS)):
        if (value := getattr(metadata, key)) not in valid:
            raise ValueError(f"{key} is one of {', '.join(valid)}. Received: {value!r:.100}")
    _check_input(metadata.input)
    if metadata.task != "backbone":
        row = find_head(metadata.head or "", metadata.task)
        try:
            row.options.of(metadata.options)
        except ValueError as error:
            raise ValueError(f"options: {error}") from None
    return metadata


def _typed(kind: type[Any], fields: dict[str, Any]) -> Any:
    """Return the dataclass of these fields, whose types are checked."""
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(kind).validate_python(fields)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _check_input(given: dict[str, Any]) -> None:
    shape, dtype, center = given.get("shape"), given.get("dtype"), given.get("center", 1.0)
    sides = shape[1:] if isinstance(shape, list) else []
    if len(sides) != 3 or not all(type(side) is int and side > 0 for side in sides):
        raise ValueError(f"input.shape is [batch, height, width, 3]. Received: {shape!r:.100}")
    if dtype not in ("float32", "uint8"):
        raise ValueError(f"input.dtype is float32 or uint8. Received: {dtype!r:.100}")
    if not isinstance(center, int | float):
        raise ValueError(f"input.center is a number. Received: {center!r:.100}")
