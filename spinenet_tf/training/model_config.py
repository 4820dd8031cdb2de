"""The config of the model: its net, graph, head, and backbone settings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationInfo, field_validator

from spinenet_tf._files.document import Scalar, plain
from spinenet_tf._files.messages import unknown
from spinenet_tf.heads.table import HEADS, find_head, head_of, options_of
from spinenet_tf.nets.family import Published, Variant, like, own_graph, variant
from spinenet_tf.nets.specs import ArchitectureSpec
from spinenet_tf.nets.style import Style
from spinenet_tf.training.schema import Side, Strict

OPTIONS = tuple(dict.fromkeys(name for row in HEADS.values() for name in row.options.names()))
OVERRIDES = Style.names() + OPTIONS  # may include head options, as the factory's arguments do


class ModelConfig(Strict):
    """A model by its name in the factory: a detector or a classifier, depending on the task."""

    name: str
    image_size: tuple[Side, Side]  # height, width in px
    graph: dict[str, Any] | None = None  # replaces the net's graph: a YAML file or its content
    head: dict[str, Any] = Field(default_factory=dict)  # `kind` (default: the published head) and the head's options
    overrides: dict[str, Any] = Field(default_factory=dict)  # backbone settings: see `nets.style.Style`

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        variant(name)
        return name

    @field_validator("graph", mode="before")
    @classmethod
    def _check_graph(cls, graph: Any) -> Any:
        return None if graph is None else read_graph(graph)

    @field_validator("overrides")
    @classmethod
    def _check_overrides(cls, overrides: dict[str, Any]) -> dict[str, Any]:
        return checked_overrides(overrides)

    @field_validator("head")
    @classmethod
    def _check_head(cls, head: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        return resolved_head(info.data["name"], head) if "name" in info.data else head

    def net(self) -> str | Variant:
        """Return the net for the factory: its name, or its variant with the custom graph."""
        if self.graph is None:
            return self.name
        return replace(variant(self.name), graph=ArchitectureSpec.from_config(self.graph), published=Published())

    def options(self) -> dict[str, Any]:
        """Return the head's options."""
        return _options_in(self.head)


def checked_overrides(given: dict[str, Any]) -> dict[str, Any]:
    """Return the given backbone settings as plain JSON types.

    Raises:
        ValueError: a setting is unknown, has an invalid value, or is an option of the head.
    """
    unknown_keys = [str(key)[:40] for key in given if key not in OVERRIDES]
    if unknown_keys:
        raise ValueError(unknown("override", unknown_keys[:5], OVERRIDES))
    if others := [key for key in given if key in OPTIONS]:
        raise ValueError(f"Head options are set in `head`, not in `overrides`. Received: {', '.join(others)}")
    return {name: value for name, value in Style.of(given).plain().items() if name in given}


def read_graph(given: Any) -> dict[str, Any]:
    """Return a graph, given as a YAML file or a dictionary, as plain JSON types.

    Raises:
        ValueError: there is no such file, or the graph cannot be built.
    """
    if isinstance(given, dict):
        return ArchitectureSpec.from_config(given).get_config()
    try:
        return ArchitectureSpec.load(Path(given).expanduser()).get_config()
    except (OSError, RuntimeError, TypeError) as error:  # no such file, `~name` of an unknown user, or not a path
        raise ValueError(f"{error}. Received: graph={given!r:.100}") from None


def resolved_model(model: dict[str, Any], task: str) -> dict[str, Any]:
    """Return the config's `model` without names that only this process knows; leave invalid values to validation."""
    name = model.get("name")
    spec = own_graph(name.text if isinstance(name, Scalar) else name)
    if spec is not None:
        given = model.get("graph")
        model = model | {"name": like(spec), "graph": spec.get_config() if plain(given) is None else given}
    return _with_head(model, task)


def _with_head(model: dict[str, Any], task: str) -> dict[str, Any]:
    """Return the config's `model` with the head's kind (by default the published head) and options in `head`.

    Earlier versions had the head's options in `overrides`.
    """
    head, overrides = (model.get(key, {}) for key in ("head", "overrides"))
    if not isinstance(head, dict) or not isinstance(overrides, dict):
        return model
    kind = plain(head.get("kind"))
    try:
        row = head_of(plain(model.get("name")), task) if kind is None else find_head(kind)
    except ValueError:
        return model | {"overrides": {key: value for key, value in overrides.items() if key not in OPTIONS}}
    moved = {key: value for key, value in overrides.items() if key in row.options.names() and key not in head}
    others = {key: value for key, value in overrides.items() if key not in moved}
    return model | {"head": moved | head | {"kind": row.name}, "overrides": others}


def resolved_head(name: str, head: dict[str, Any]) -> dict[str, Any]:
    """Return the config's `head` with all options filled in for its `kind` on the net `name`.

    Raises:
        ValueError: the head or an option is unknown, or an option has an invalid value.
    """
    row = find_head(head.get("kind", ""))
    return {"kind": row.name} | options_of(name, row, _options_in(head)).plain()


def _options_in(head: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in head.items() if key != "kind"}
