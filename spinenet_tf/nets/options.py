"""Options of a backbone or a head: dataclasses with names, defaults and ranges, for code and configs."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, dataclass, field, fields
from numbers import Real
from typing import Any, Self

from spinenet_tf._files.messages import unknown

MAX_CHANNELS = 1 << 16
_LIMITS = {
    "above": (operator.gt, "above"),
    "low": (operator.ge, "at least"),
    "below": (operator.lt, "below"),
    "high": (operator.le, "at most"),
}


def option(
    default: Any,
    low: float | None = None,
    high: float | None = None,
    *,
    above: float | None = None,
    below: float | None = None,
    choices: tuple[str, ...] = (),
    count: int | None = None,
    of_weights: bool = False,
) -> Any:
    """Declare an option: its default, and its range (`low` and `high` are inclusive) or its valid `choices`.

    An option with a default of None is a whole number; other code chooses its default. `count` is the number of values
    in a tuple, by default any number. `of_weights` marks an option that determines the weights of a model or their
    meaning, and so is stored in a weights file.
    """
    limits = {"low": low, "high": high, "above": above, "below": below}
    return field(default=default, metadata=limits | {"choices": choices, "count": count, "of_weights": of_weights})


@dataclass(frozen=True)
class Options:
    """Base class of options, whose values are checked, and can be written to and read from JSON or YAML.

    Raises:
        ValueError: an option has a value of the wrong type or out of range.
    """

    def __post_init__(self) -> None:
        for one in fields(self):
            object.__setattr__(self, one.name, _checked(one, getattr(self, one.name)))

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the names of the options."""
        return tuple(one.name for one in fields(cls))

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """Return options with the `given` values, and the defaults for all others.

        Raises:
            ValueError: an option is unknown, or its value is invalid.
        """
        invalid = [str(name)[:40] for name in given if name not in cls.names()]
        if invalid:
            raise ValueError(unknown("option", invalid[:5], cls.names()))
        return cls(**given)

    def of_weights(self) -> dict[str, Any]:
        """Return the options that determine the meaning of the weights, as plain JSON types."""
        return {one.name: self.plain()[one.name] for one in fields(self) if one.metadata.get("of_weights")}

    def plain(self) -> dict[str, Any]:
        """Return all options as plain JSON types."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def valid_values(one: Field) -> str:
    """Describe the valid values of an option, as in "a whole number at least 1"."""
    if isinstance(one.default, bool):
        return "true or false"
    if isinstance(one.default, str):
        return f"one of {', '.join(one.metadata['choices'])}"
    numbers = f"{one.metadata['count'] or '1 to 100'} numbers"
    what = {tuple: numbers, float: "a number"}.get(type(one.default), "a whole number")
    limits = [(words, one.metadata[limit]) for limit, (_, words) in _LIMITS.items()]
    return f"{what} {' and '.join(f'{words} {number}' for words, number in limits if number is not None)}".rstrip()


def _checked(one: Field, value: Any) -> Any:
    """Convert a value to the type of the option: a whole number may be given as 3.0, a tuple as a list."""
    if one.default is MISSING:
        raise TypeError(f"An option must have a default. Received: {one.name}")
    if one.default is None and value is None:
        return None
    found = _in_type(one, value)
    if found is None:
        choices = one.metadata["choices"]
        told = unknown(one.name, [str(value)[:40]], choices) if choices else f"{one.name} must be {valid_values(one)}."
        raise ValueError(f"{told} Received: {one.name}={value!r:.100}")
    return found


def _in_type(one: Field, value: Any) -> Any:
    """Return a value in the type of an option, or None if the option cannot have it."""
    if isinstance(one.default, tuple):
        numbers = [_number(one, part, float) for part in value] if isinstance(value, (list, tuple)) else []
        fits = len(numbers) in ((count,) if (count := one.metadata["count"]) else range(1, 101))
        return tuple(numbers) if fits and None not in numbers else None
    if isinstance(one.default, bool):
        return value if isinstance(value, bool) else None
    if isinstance(one.default, str):
        return value if isinstance(value, str) and value in one.metadata["choices"] else None
    return _number(one, value, int if one.default is None else type(one.default))


def _number(one: Field, value: Any, kind: type) -> Any:
    if not isinstance(value, Real) or isinstance(value, bool):
        return None
    try:
        number = kind(value)
    except (OverflowError, ValueError):  # infinity or NaN
        return None
    limits = [(meets, one.metadata[limit]) for limit, (meets, _) in _LIMITS.items()]
    in_range = -math.inf < number < math.inf and all(limit is None or meets(number, limit) for meets, limit in limits)
    return number if in_range and (kind is float or number == value) else None
