"""Name the keys of a head in the experiments of TF Model Garden."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ExperimentKeys:
    """The keys of a head in the experiments of TF Model Garden, such as "task.model.head.num_convs".

    Several keys in a tuple must have the same value.
    """

    options: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)  # option of the head -> key
    fixed: Mapping[str, Any] = field(default_factory=dict)  # options that have this value in all experiments
    needed: Mapping[str, Any] = field(default_factory=dict)  # key -> the only value that the head can express
    # Key -> values that mean what the head does anyway.
    same: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    separable: tuple[str, ...] = ()  # keys that are true where the convs of the backbone are separable

    @property
    def names(self) -> tuple[str, ...]:
        """All keys that give options."""
        return tuple(name for keys in self.options.values() for name in _tuple(keys))

    def of(self, option: str) -> tuple[str, ...]:
        """Return the keys of an option."""
        return _tuple(self.options[option])


def _tuple(keys: str | tuple[str, ...]) -> tuple[str, ...]:
    return (keys,) if isinstance(keys, str) else keys
