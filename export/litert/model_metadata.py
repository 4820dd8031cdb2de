"""TFLite Model Metadata, by which MediaPipe Tasks know a file's input, outputs and labels.

A buffer of the file has the tables of MediaPipe's `metadata_schema.fbs`; the labels are a file in the appended zip.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from spinenet_tf.export.rewrites.flat_graph import parse, serialize
from spinenet_tf.inference.metadata import LABELS, Metadata

BUFFER, IDENTIFIER = "TFLITE_METADATA", b"M001"
# The schema's tables that are written. A field's number is its position; the type of a union is a field of its own.
FIELDS = {
    "ModelMetadata": ("name", "description", "version", "subgraph_metadata"),
    "SubGraphMetadata": ("name", "description", "input_tensor_metadata", "output_tensor_metadata"),
    "TensorMetadata": (
        "name",
        "description",
        "dimension_names",
        "content",
        "process_units",
        "stats",
        "associated_files",
    ),
    "Content": ("content_properties_type", "content_properties"),
    "ImageProperties": ("color_space",),
    "BoundingBoxProperties": ("index", "type", "coordinate_type"),
    "ProcessUnit": ("options_type", "options"),
    "NormalizationOptions": ("mean", "std"),
    "AssociatedFile": ("name", "description", "type"),
}
# The schema's enumerations, and the types of its unions.
RGB, BOUNDARIES, RATIO, AXIS_LABELS, VALUE_LABELS = 1, 1, 0, 2, 3
NORMALIZATION, IMAGE, BOUNDING_BOX = 1, 2, 3
XYXY = (1, 0, 3, 2)  # where left, top, right and bottom are among the coordinates of a box


class Table(NamedTuple):
    """A table of the schema: its name, and its fields that are set."""

    kind: str
    fields: dict[str, Any]


def with_model_metadata(content: bytes, metadata: Metadata) -> bytes:
    """Return a .tflite with TFLite Model Metadata for MediaPipe's ObjectDetector or ImageClassifier.

    The file takes pixels and has the outputs "postprocess" or "probabilities"; its labels are `LABELS` in the zip.
    """
    model, buffer, entry = parse(content), schema.BufferT(), schema.MetadataT()
    buffer.data = np.frombuffer(_packed(_described(metadata)), np.uint8)
    entry.name, entry.buffer = BUFFER, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or ()), entry]
    return serialize(model)


def _described(metadata: Metadata) -> Table:
    outputs = _OUTPUTS[metadata.output_kind]()
    graph = _table("SubGraphMetadata", input_tensor_metadata=[_image()], output_tensor_metadata=outputs)
    return _table("ModelMetadata", name=metadata.model, subgraph_metadata=[graph])


def _image() -> Table:
    """Describe an input of pixels as they are: normalized with mean 0 and deviation 1."""
    content = _content(IMAGE, _table("ImageProperties", color_space=RGB))
    numbers = {"mean": np.zeros(1, np.float32), "std": np.ones(1, np.float32)}
    unit = _table("ProcessUnit", options_type=NORMALIZATION, options=_table("NormalizationOptions", **numbers))
    return _table("TensorMetadata", name="image", content=content, process_units=[unit])


def _detections() -> list[Table]:
    """Describe the outputs "postprocess"; MediaPipe finds them by these names."""
    order = np.array(XYXY, np.uint32)
    box = _table("BoundingBoxProperties", index=order, type=BOUNDARIES, coordinate_type=RATIO)
    return [
        _table("TensorMetadata", name="location", content=_content(BOUNDING_BOX, box)),
        _table("TensorMetadata", name="category", associated_files=[_labels(VALUE_LABELS)]),
        _table("TensorMetadata", name="score"),
        _table("TensorMetadata", name="number of detections"),
    ]


def _probabilities() -> list[Table]:
    return [_table("TensorMetadata", name="score", associated_files=[_labels(AXIS_LABELS)])]


def _content(kind: int, properties: Table) -> Table:
    return _table("Content", content_properties_type=kind, content_properties=properties)


def _labels(kind: int) -> Table:
    return _table("AssociatedFile", name=LABELS, type=kind)


_OUTPUTS = {"postprocess": _detections, "probabilities": _probabilities}


def _table(kind: str, **fields: Any) -> Table:
    return Table(kind, fields)


def _packed(table: Table) -> bytes:
    """Return a flatbuffer whose root is the table."""
    builder = flatbuffers.Builder()
    builder.Finish(_write(builder, table), IDENTIFIER)
    return bytes(builder.Output())


def _write(builder: Any, value: Any) -> int:
    """Write a text, an array of numbers, a list of tables or a table, and return where it is."""
    if isinstance(value, str):
        return builder.CreateString(value)
    if isinstance(value, np.ndarray):
        return builder.CreateNumpyVector(value)
    if isinstance(value, Table):
        return _write_table(builder, value)
    places = [_write(builder, item) for item in value]
    builder.StartVector(4, len(places), 4)
    for place in reversed(places):  # a buffer is written from its end
        builder.PrependUOffsetTRelative(place)
    return builder.EndVector()


def _write_table(builder: Any, table: Table) -> int:
    names = FIELDS[table.kind]
    numbers = {name: x for name, x in table.fields.items() if isinstance(x, int)}  # enumerations, of one byte each
    places = {name: _write(builder, x) for name, x in table.fields.items() if name not in numbers}
    builder.StartObject(len(names))
    for name, number in numbers.items():
        builder.PrependInt8Slot(names.index(name), number, 0)
    for name, place in places.items():
        builder.PrependUOffsetTRelativeSlot(names.index(name), place, 0)
    return builder.EndObject()
