"""The table of heads: a head is a file of this folder and a row here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spinenet_tf._files.messages import unknown
from spinenet_tf.heads import centernet, classifier, retinanet
from spinenet_tf.heads.head import Head
from spinenet_tf.heads.model import HeadModel
from spinenet_tf.nets.backbone import Backbone
from spinenet_tf.nets.family import Net, variant
from spinenet_tf.nets.style import Style

HEADS: dict[str, Head] = {row.name: row for row in (retinanet.ROW, centernet.ROW, classifier.ROW)}
TASKS = tuple(dict.fromkeys(row.task for row in HEADS.values()))


def find_head(name: str, task: str | None = None) -> Head:
    """Return the row of a head.

    Raises:
        ValueError: there is no such head, or it is of another task.
    """
    valid = [row.name for row in HEADS.values() if task in (None, row.task)]
    if not isinstance(name, str) or name not in valid:
        raise ValueError(f"{unknown('head', [str(name)[:40]], valid)} Received: head={name!r:.100}")
    return HEADS[name]


def head_of(net: Net, task: str) -> Head:
    """Return the head for a task that a net has by default: the first of its published ones, else of the table.

    Raises:
        ValueError: there is no such net.
    """
    names = [*(name for name in variant(net).heads if name in HEADS), *HEADS]
    return next(HEADS[name] for name in names if HEADS[name].task == task)


def options_of(net: Net, head: Head, given: Mapping[str, Any] | None = None) -> Any:
    """Return the options of a head on a net: what is `given` over what the net was published with.

    Raises:
        ValueError: the net or an option is unknown, or an option out of its range.
    """
    return head.options.of({**variant(net).heads.get(head.name, {}), **(given or {})})


def build(architecture: Mapping[str, Any], input_shape: tuple[int | None, int | None, int]) -> Backbone | HeadModel:
    """Build the model of an architecture as `modern_architecture` returns it, with fresh weights."""
    style = dict(architecture.get("backbone", architecture))
    spec = style.pop("graph") | {"name": style.pop("model")}
    backbone = Backbone(spec, input_shape, Style.of(style))
    if "head" not in architecture:
        return backbone
    head = find_head(architecture["head"])
    return head.build(backbone, architecture["classes"], head.options.of(architecture["options"]))


def modern_architecture(architecture: dict[str, Any]) -> dict[str, Any]:
    """Return the architecture that a weights file carries as today's would; what is none is returned as it is."""
    return next(filter(None, (_old(row, architecture) for row in HEADS.values())), architecture)


def modern_metadata(fields: dict[str, Any]) -> dict[str, Any]:
    """Return an artifact's metadata of format 2 with the head's name and options in place of what one head had.

    Raises:
        ValueError: a key of it is missing; the message names it.
    """
    found: dict[str, Any] = next(
        filter(None, (row.old_metadata(fields) for row in HEADS.values())), {"head": None, "options": {}}
    )
    return {name: value for name, value in fields.items() if name not in ("anchors", "decoding")} | found


def _old(row: Head, architecture: dict[str, Any]) -> dict[str, Any] | None:
    try:
        return row.old_architecture(architecture)
    except (KeyError, TypeError):  # a file that was made by hand
        return None
