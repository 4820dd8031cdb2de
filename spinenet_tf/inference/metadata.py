"""The metadata that a program needs to run an artifact: `metadata.json` and `labels.txt`."""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from spinenet_tf.heads.classes import checked_ids, default_ids
from spinenet_tf.heads.head import Head, with_limit
from spinenet_tf.heads.table import TASKS, find_head, modern_metadata
from spinenet_tf.inference.onnxfile import read_property
from spinenet_tf.inference.openvinofile import read_runtime_info

FORMAT = 5  # incremented when an older reader would misread the new format
READ = (2, 3, 4, FORMAT)
_RENAMED = {"form": "output_kind", "centre": "center"}  # of formats 2 and 3  # codespell:ignore
METADATA, LABELS = "metadata.json", "labels.txt"
LETTERBOX, CROP, STRETCH = FITS = "letterbox", "crop", "stretch"  # how images become the input
ASSETS = "assets"  # the folder of a SavedModel for additional files

# The zip module raises these for damaged files, RuntimeError if they look encrypted; `read_property` LookupError.
_UNREADABLE = (OSError, LookupError, ValueError, RuntimeError, EOFError, zlib.error, zipfile.BadZipFile, struct.error)
_TASKS = (*TASKS, "backbone")
_OUTPUT_KINDS = ("raw", "decoded", "detections", "postprocess", "probabilities")


@dataclass(frozen=True)
class Metadata:
    """The description of an artifact; all fields are plain JSON types."""

    task: str  # of the table of heads, or "backbone"
    model: str  # the name of the architecture
    quantization: str  # "none", "fp16", "dynamic", "int8" or "int16x8"
    input: dict[str, Any]  # name, shape, dtype, layout, color, mean, std, normalization, fit, resize, center
    outputs: dict[str, dict[str, Any]]  # by name: shape, dtype, layout
    class_names: list[str]  # by class index; empty for a backbone
    head: str | None = None  # its name in the table of heads; None for a backbone
    options: dict[str, Any] = field(default_factory=dict)  # of the head
    graph: dict[str, Any] = field(default_factory=dict)  # of the backbone, for `ArchitectureSpec.from_config`
    float_layers: list[str] = field(default_factory=list)  # of "int8": names of Keras layers that compute in float
    output_kind: str = "raw"  # one of `_OUTPUT_KINDS`
    category_ids: list[int] | None = None  # of the classes in COCO files, by class index; None: class + 1
    format: int = FORMAT

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the input in pixels."""
        _, height, width, _ = self.input["shape"]
        return height, width

    @property
    def center(self) -> float:
        """The side of a classifier's central crop: see `data.input.class_pipeline.central_crop`.

        Raises:
            ValueError: the metadata has none, because the model is not a classifier.
        """
        if "center" not in self.input:
            raise ValueError(f"The metadata has no central crop. Received: task={self.task!r}, model={self.model!r}")
        return self.input["center"]

    @property
    def stretch(self) -> bool:
        """Whether images are stretched to the input, or the central crops of a classifier: see `data.fitting`."""
        return self.input["fit"] == STRETCH

    @property
    def detects(self) -> bool:
        """Whether the model detects objects."""
        return self.head is not None and self.known_head()[0].detects

    def known_head(self) -> tuple[Head, Any]:
        """Return the head from the table of heads, and its options.

        Raises:
            ValueError: there is no such head or option, or the model is a backbone.
        """
        row = find_head(self.head or "", self.task)
        return row, row.options.of(self.options)

    def to_json(self, indent: int | None = None) -> str:
        """Return the metadata as JSON text."""
        return json.dumps(asdict(self), indent=indent, ensure_ascii=False)

    def write(self, folder: Path, stem: str = "") -> None:
        """Write `metadata.json` and, if there are classes, `labels.txt`; file names get the prefix `stem.` if given."""
        for name, text in self._files().items():
            (folder / (f"{stem}.{name}" if stem else name)).write_text(text, encoding="utf-8")

    def append_to(self, file: Path) -> None:
        """Append the same files to a .tflite as a zip: interpreters read from the start, zip readers from the end."""
        with zipfile.ZipFile(file, "a") as archive:
            for name, text in self._files().items():
                # ZipInfo has a fixed date, so that equal models produce equal files.
                archive.writestr(zipfile.ZipInfo(name), text.encode())

    def _files(self) -> dict[str, str]:
        files = {METADATA: self.to_json(indent=2) + "\n"}
        return files | ({LABELS: "\n".join(self._labels()) + "\n"} if self.class_names else {})

    def _labels(self) -> list[str]:
        """Return the class names by the numbers that the file outputs; "postprocess" does not count a background."""
        first = self.output_kind == "postprocess" and getattr(self.known_head()[1], "background", False)
        return self.class_names[int(first) :]


def with_slots(metadata: Metadata, max_detections: int | None) -> Metadata:
    """Return a detector's metadata with the limit `max_detections` per image; None: its own.

    Raises:
        ValueError: the file contains NMS with another limit, or its net selects fewer detections.
    """
    if max_detections is None:
        return metadata
    head, options = metadata.known_head()
    given = options.max_detections
    if metadata.output_kind in ("detections", "postprocess") and max_detections != given:
        raise ValueError(f"The file has a fixed limit of {given} detections per image. Received: {max_detections=}")
    return replace(metadata, options=with_limit(head, options, max_detections).plain())


def read_metadata(path: str | Path) -> Metadata:
    """Return the metadata of a .tflite, .onnx or .xml file or a SavedModel's folder; unknown keys are ignored.

    Raises:
        FileNotFoundError: there is no such artifact.
        ValueError: its metadata is missing, of a newer format, or damaged; the message names the key.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"There is no exported model {path}.")
    fields = _metadata_in(path)
    if not fields:
        raise ValueError(f"{path} has no metadata: it was not written by spinenet_tf.export.")
    if fields.get("format") not in READ:
        raise ValueError(
            f"{path} has metadata of an unsupported format; supported: {READ}. "
            f"Received: format={fields.get('format')!r:.100}"
        )
    try:
        return _checked(_modern(fields))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} has damaged metadata: {' '.join(str(error).split()):.250}") from None


def is_metadata(content: str | bytes) -> bool:
    """Return whether a text is an artifact's metadata written by any version of this package."""
    return bool(_as_object(content).keys() >= {"task", "model", "quantization", "input", "outputs"})


def _metadata_in(path: Path) -> dict[str, Any]:
    """Return the JSON object of an artifact's metadata; an empty one if there is none."""
    try:
        if path.is_dir():
            return _as_object((path / ASSETS / METADATA).read_bytes())
        if path.suffix == ".onnx":
            return _as_object(read_property(path, METADATA))
        if path.suffix == ".xml":
            return _as_object(read_runtime_info(path, METADATA))
        with zipfile.ZipFile(path) as archive:
            return _as_object(archive.read(METADATA))
    except _UNREADABLE:
        return {}


def _as_object(content: str | bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _modern(fields: dict[str, Any]) -> dict[str, Any]:
    """Return metadata of any supported format, converted to the current format."""
    if fields["format"] == 2:
        fields = modern_metadata(fields)
    if fields["format"] == FORMAT:
        return fields
    renamed = _renamed(fields) | {"format": FORMAT}
    if isinstance(renamed.get("input"), dict):
        fit = CROP if renamed.get("task") == "classification" else LETTERBOX  # it was a sentence
        renamed["input"] = _renamed(renamed["input"]) | {"fit": fit}
    return renamed


def _renamed(fields: dict[str, Any]) -> dict[str, Any]:
    return {_RENAMED.get(key, key): value for key, value in fields.items()}


def _checked(fields: dict[str, Any]) -> Metadata:
    """Return valid metadata; raises ValueError or TypeError whose message starts with the invalid key."""
    metadata = _typed(Metadata, fields)
    for key, valid in (("task", _TASKS), ("output_kind", _OUTPUT_KINDS)):
        if (value := getattr(metadata, key)) not in valid:
            raise ValueError(f"{key} must be one of {', '.join(valid)}. Received: {value!r:.100}")
    _check_input(metadata.input)
    if metadata.task == "backbone":
        return metadata
    row = find_head(metadata.head or "", metadata.task)
    try:
        options = row.options.of(metadata.options)
    except ValueError as error:
        raise ValueError(f"options: {error}") from None
    return replace(metadata, category_ids=_category_ids(metadata, options))


def _category_ids(metadata: Metadata, options: Any) -> list[int] | None:
    """Return the category ids of the classes; earlier versions did not write them."""
    given, count = metadata.category_ids, len(metadata.class_names)
    found = default_ids(options, count) if given is None else checked_ids(given, count)
    return None if found is None else list(found)


def _typed(kind: type[Any], fields: dict[str, Any]) -> Any:
    """Return a dataclass with these fields after type checks."""
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
        raise ValueError(f"input.shape must be [batch, height, width, 3]. Received: {shape!r:.100}")
    if dtype not in ("float32", "uint8"):
        raise ValueError(f"input.dtype must be float32 or uint8. Received: {dtype!r:.100}")
    if given.get("fit") not in FITS:
        raise ValueError(f"input.fit must be one of {', '.join(FITS)}. Received: {given.get('fit')!r:.100}")
    if not isinstance(center, int | float):
        raise ValueError(f"input.center must be a number. Received: {center!r:.100}")
