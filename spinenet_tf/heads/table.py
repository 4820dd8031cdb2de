"""The table of heads: each head is a file in this folder and a row here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spinenet_tf._files.messages import unknown
from spinenet_tf.heads import centernet, classifier, retinanet
from spinenet_tf.heads.head import Head
from spinenet_tf.heads.mask_rcnn import model as mask_rcnn
from spinenet_tf.heads.model import HeadModel
from spinenet_tf.nets.backbone import Backbone
from spinenet_tf.nets.family import Net, variant
from spinenet_tf.nets.style import Style

HEADS: dict[str, Head] = {row.name: row for row in (retinanet.ROW, centernet.ROW, mask_rcnn.ROW, classifier.ROW)}
TASKS = tuple(dict.fromkeys(row.task for row in HEADS.values()))


def find_head(name: str, *tasks: str) -> Head:
    """Return the row of a head.

    Raises:
        ValueError: the head is unknown, or belongs to none of the `tasks`, if there are any.
    """
    valid = [row.name for row in HEADS.values() if not tasks or row.task in tasks]
    if not isinstance(name, str) or name not in valid:
        raise ValueError(f"{unknown('head', [str(name)[:40]], valid)} Received: head={name!r:.100}")
    return HEADS[name]


def head_of(net: Net, task: str) -> Head:
    """Return the default head of a net for a task: the first that it was published with, or the first of the table.

    Raises:
        ValueError: the net is unknown.
    """
    names = [*(name for name in variant(net).heads if name in HEADS), *HEADS]
    return next(HEADS[name] for name in names if HEADS[name].task == task)


def options_of(net: Net, head: Head, given: Mapping[str, Any] | None = None) -> Any:
    """Return the options of a head on a net: those `given`, then those that the net was published with.

    Raises:
        ValueError: the net or an option is unknown, or an option is out of range.
    """
    return head.options.of({**variant(net).heads.get(head.name, {}), **(given or {})})


def build(architecture: Mapping[str, Any], input_shape: tuple[int | None, int | None, int]) -> Backbone | HeadModel:
    """Build the model of an architecture, as `modern_architecture` returns it, with random weights."""
    style = dict(architecture.get("backbone", architecture))
    spec = style.pop("graph") | {"name": style.pop("model")}
    backbone = Backbone(spec, input_shape, Style.of(style))
    if "head" not in architecture:
        return backbone
    head = find_head(architecture["head"])
    return head.build(backbone, architecture["classes"], head.options.of(architecture["options"]))


def modern_architecture(architecture: dict[str, Any]) -> dict[str, Any]:
    """Convert the architecture in a weights file of an earlier version; return any other value unchanged."""
    return next(filter(None, (_old(row, architecture) for row in HEADS.values())), architecture)


def modern_metadata(fields: dict[str, Any]) -> dict[str, Any]:
    """Convert the metadata of an exported file of format 2, which had keys of only one head, to head and options.

    Raises:
        ValueError: a key is missing or invalid; the message names it.
    """
    found: dict[str, Any] = next(
        filter(None, (row.old_metadata(fields) for row in HEADS.values())), {"head": None, "options": {}}
    )
    return {name: value for name, value in fields.items() if name not in ("anchors", "decoding")} | found


def _old(row: Head, architecture: dict[str, Any]) -> dict[str, Any] | None:
    try:
        return row.old_architecture(architecture)
    except (KeyError, TypeError):  # a file that was edited by hand
        return None
