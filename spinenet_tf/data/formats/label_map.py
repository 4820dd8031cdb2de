"""Read label maps, the protobuf text files in which TensorFlow's detection tools list class names."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory, text_format

from spinenet_tf.data.dataset import DataError
from spinenet_tf.data.files import read_text

LABEL_MAP = "label_map.pbtxt"
LONGEST = 1_000_000  # characters of a file


def read_label_map(path: Path) -> list[dict[str, object]]:
    """Return the items of a label map as COCO categories, named by `display_name`, or else by `name`.

    Raises:
        DataError: the file cannot be read, is longer than `LONGEST`, or is not a label map with items.
    """
    text = read_text(path)
    if len(text) > LONGEST:
        raise DataError(f"{path}: not a label map: it has {len(text):,} characters; the limit is {LONGEST:,}")
    found = _label_map()()
    try:
        text_format.Parse(text, found, allow_unknown_field=True)
    except (text_format.ParseError, RecursionError, ValueError) as error:
        raise DataError(f"{path}: not a label map ({' '.join(str(error).split())[:200]})") from None
    if not found.item:
        raise DataError(f"{path}: not a label map: it has no items")
    return [{"id": item.id, "name": item.display_name or item.name} for item in found.item]


@cache
def _label_map() -> type[message.Message]:
    """Return the message class of TensorFlow's `string_int_label_map.proto`, with only the fields that are read."""
    file = descriptor_pb2.FileDescriptorProto(
        name="spinenet_tf_label_map.proto", package="spinenet_tf", syntax="proto2"
    )
    item, label_map = file.message_type.add(name="Item"), file.message_type.add(name="LabelMap")
    field = descriptor_pb2.FieldDescriptorProto
    for number, name, kind in ((1, "name", field.TYPE_STRING), (2, "id", field.TYPE_INT32)):
        item.field.add(name=name, number=number, type=kind, label=field.LABEL_OPTIONAL)
    item.field.add(name="display_name", number=3, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    label_map.field.add(
        name="item", number=1, type=field.TYPE_MESSAGE, type_name=".spinenet_tf.Item", label=field.LABEL_REPEATED
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("spinenet_tf.LabelMap"))
