"""Read YAML safely, with limits on length, depth and the number of values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

LONGEST = 1 << 19  # bytes of a file: a resolved config lists its classes
DEEPEST = 32  # mappings and lists inside each other
MOST = 50_000  # values, counting what an alias repeats each time
_TIMESTAMP = "tag:yaml.org,2002:timestamp"


class DocumentError(ValueError):
    """Text that is not YAML, or that exceeds a limit."""


@dataclass(frozen=True)
class Scalar:
    """An unquoted scalar as a parsed value and as text; the field that it fills decides which one counts."""

    value: Any
    text: str


def plain(value: Any) -> Any:
    """Replace every `Scalar` by its parsed value."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [plain(part) for part in value]
    return value.value if isinstance(value, Scalar) else value


def flat(values: Mapping[str, Any], parent: str = "") -> dict[str, Any]:
    """Return nested values by dotted key, such as `model.head.kind`; an empty mapping has no keys."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        key = f"{parent}{name}"
        found |= flat(value, f"{key}.") if isinstance(value, Mapping) else {key: value}
    return found


class _BoundedLoader(yaml.SafeLoader):
    """Load plain values and `Scalar`s, reject duplicate keys, and count values with aliases expanded."""

    def __init__(self, text: str):
        super().__init__(text)
        self._depth = self._count = 0
        self._sizes: dict[int, int] = {}  # id of a complete node -> its number of values

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self._depth == DEEPEST:
            raise DocumentError(f"it is nested more than {DEEPEST} levels deep")
        self._count += 1
        is_alias = self.check_event(yaml.AliasEvent)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        if is_alias and id(node) not in self._sizes:
            raise DocumentError("an alias refers to a node that contains it")
        if not is_alias:
            self._sizes[id(node)] = 1 + sum(self._sizes[id(child)] for child in _children(node))
        if max(self._count, self._sizes[id(node)]) > MOST:
            raise DocumentError(f"it has more than {MOST:,} values, with aliases expanded")
        return node

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        if isinstance(node, yaml.ScalarNode) and node.tag == _TIMESTAMP:  # keep a date as text
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
            raise DocumentError(f"the key {twice[:40]!r} occurs twice")
        return node


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def parse_yaml(text: str) -> Any:
    """Parse YAML text into dicts, lists, strings, and a `Scalar` for every other value.

    Raises:
        DocumentError: the text is not YAML, constructs Python objects, has a duplicate key, or exceeds a limit.
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
    """Parse a YAML file as `parse_yaml` does.

    Raises:
        DocumentError: as `parse_yaml` does, or the file cannot be read or is not UTF-8.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LONGEST + 1)
        return parse_yaml(content.decode())
    except (OSError, UnicodeDecodeError) as error:
        raise DocumentError(str(error)) from error
