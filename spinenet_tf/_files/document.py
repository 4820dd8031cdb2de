"""YAML as configs are written in: read safely, and bounded in length, depth and what aliases make of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

LONGEST = 1 << 19  # bytes of a file: a resolved config lists its classes
DEEPEST = 32  # mappings and lists inside each other
MOST = 50_000  # values, those that an alias repeats counted each time
_TIMESTAMP = "tag:yaml.org,2002:timestamp"


class DocumentError(ValueError):
    """Text that is not YAML, or more of it than a config needs."""


@dataclass(frozen=True)
class Scalar:
    """A value that YAML reads from unquoted text: whether it or the text is meant is told by where it goes."""

    value: Any
    text: str


def plain(value: Any) -> Any:
    """Return a value as YAML reads it, whatever its text."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [plain(part) for part in value]
    return value.value if isinstance(value, Scalar) else value


class _BoundedLoader(yaml.SafeLoader):
    """Builds plain values and `Scalar`s, refuses keys that are there twice, and counts what aliases stand for."""

    def __init__(self, text: str):
        super().__init__(text)
        self._depth = self._count = 0
        self._sizes: dict[int, int] = {}  # values in a node, by its id, from when it is complete

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self._depth == DEEPEST:
            raise DocumentError(f"it is nested more than {DEEPEST} levels deep")
        self._count += 1
        is_alias = self.check_event(yaml.AliasEvent)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        if is_alias and id(node) not in self._sizes:
            raise DocumentError("an alias stands for what it is part of")
        if not is_alias:
            self._sizes[id(node)] = 1 + sum(self._sizes[id(child)] for child in _children(node))
        if max(self._count, self._sizes[id(node)]) > MOST:
            raise DocumentError(f"it has more than {MOST:,} values, those that aliases repeat included")
        return node

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        if isinstance(node, yaml.ScalarNode) and node.tag == _TIMESTAMP:  # a date is text
            return node.value
        value = super().construct_object(node, deep)
        if isinstance(value, str) or not isinstance(node, yaml.ScalarNode):
            return value
        return Scalar(value, node.value)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        values = super().construct_mapping(node, deep)
        return {key.text if isinstance(key, Scalar) else key: value for key, value in values.items()}

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        keys = [(key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = next((value for index, (tag, value) in enumerate(keys) if (tag, value) in keys[:index]), None)
        if twice is not None:
            raise DocumentError(f"the key {twice[:40]!r} is there twice")
        return node


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def parse_yaml(text: str) -> Any:
    """Return what a YAML text says: mappings, lists, texts, and a `Scalar` for each other value.

    Raises:
        DocumentError: it is not YAML, asks for objects, has a key twice, or is too long, too deep or too much.
    """
    if len(text) > LONGEST:
        raise DocumentError(f"it has more than {LONGEST:,} characters")
    try:
        return yaml.load(text, _BoundedLoader)  # a safe loader
    except DocumentError:
        raise
    except Exception as error:  # PyYAML raises KeyError, AttributeError and others for scalars such as `!!bool x`
        raise DocumentError(" ".join(str(error).split())[:300]) from error


def read_yaml(path: Path) -> Any:
    """Return what a YAML file says.

    Raises:
        DocumentError: as `parse_yaml` does, or the file does not read, or is not UTF-8.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LONGEST + 1)
        return parse_yaml(content.decode())
    except (OSError, UnicodeDecodeError) as error:
        raise DocumentError(str(error)) from error
