"""The options of a head: a dataclass from which follow its arguments, its part of a config, its defaults and ranges."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, dataclass, field, fields
from numbers import Integral, Real
from typing import Any, Self

from spinenet_tf._files.messages import unknown

MAX_CHANNELS = 1 << 16
MAX_DETECTIONS = 1 << 30


def option(
    default: Any,
    low: float | None = None,
    high: float | None = None,
    *,
    above: float | None = None,
    choices: tuple[str, ...] = (),
    of_weights: bool = False,
) -> Any:
    """Declare an option: its default, its range from `low` to `high`, or above a number, or its valid values.

    `of_weights` marks what decides on the weights of a model or on what they mean: it is part of a weights file.
    """
    limits = {"low": low, "high": high, "above": above, "choices": choices, "of_weights": of_weights}
    return field(default=default, metadata=limits)


@dataclass(frozen=True)
class Options:
    """What all heads' options have: values that are checked, and that survive a trip through JSON or YAML.

    Raises:
        ValueError: an option has a value of another type or out of its range.
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
        """Return the options with these values, the others by default.

        Raises:
            ValueError: an option is unknown, or its value is not valid.
        """
        strangers = [str(name)[:40] for name in given if name not in cls.names()]
        if strangers:
            raise ValueError(unknown("option", strangers[:5], cls.names()))
        return cls(**given)

    def of_weights(self) -> dict[str, Any]:
        """Return those that decide what the weights mean, as plain JSON types."""
        return {one.name: self.plain()[one.name] for one in fields(self) if one.metadata.get("of_weights")}

    def plain(self) -> dict[str, Any]:
        """Return all of them as plain JSON types."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


@dataclass(frozen=True)
class DetectionOptions(Options):
    """What the options of all detectors have."""

    score_threshold: float = option(0.05, 0, 1)
    max_detections: int = option(100, 1, MAX_DETECTIONS)


def _checked(one: Field, value: Any) -> Any:
    """Return an option's value in its own type: whole numbers may be written as 3.0, and lists as lists."""
    if one.default is MISSING:
        raise TypeError(f"An option has a default. Received: {one.name}")
    if isinstance(one.default, tuple):
        if not isinstance(value, (list, tuple)) or not 1 <= len(value) <= 100:
            raise ValueError(f"{one.name} are 1 to 100 numbers. Received: {one.name}={value!r:.100}")
        return tuple(_number(one, part, float) for part in value)
    if isinstance(one.default, bool):
        if not isinstance(value, bool):
            raise ValueError(f"{one.name} is true or false. Received: {one.name}={value!r:.100}")
        return value
    if isinstance(one.default, str):
        valid = one.metadata["choices"]
        if not isinstance(value, str) or value not in valid:
            raise ValueError(f"{unknown(one.name, [str(value)[:40]], valid)} Received: {one.name}={value!r:.100}")
        return value
    return _number(one, value, type(one.default))


def _number(one: Field, value: Any, kind: type) -> Any:
    whole = isinstance(value, Integral) or (isinstance(value, float) and value.is_integer())
    is_number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or (kind is int and not whole):
        what = "a whole number" if kind is int else "a number"
        raise ValueError(f"{one.name} is {what}. Received: {one.name}={value!r:.100}")
    low, high, above = (one.metadata.get(limit) for limit in ("low", "high", "above"))
    if (low is not None and value < low) or (above is not None and value <= above):
        told = f"at least {low}" if above is None else f"more than {above}"
        raise ValueError(f"{one.name} is {told}. Received: {one.name}={value!r:.100}")
    if high is not None and value > high:
        raise ValueError(f"{one.name} is at most {high}. Received: {one.name}={value!r:.100}")
    return kind(value)
