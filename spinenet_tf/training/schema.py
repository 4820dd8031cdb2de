"""Types and the base class that all parts of the config schema share."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from spinenet_tf._files.document import Scalar, plain

_SHOWN = 5  # unknown keys that a message lists


def _check_number(value: Any) -> Any:
    if isinstance(value, bool):  # a bool is an int in Python
        raise ValueError(f"Input should be a number. Received: {value}")
    return value


NUMBER = BeforeValidator(_check_number)
Side = Annotated[int, Field(ge=32, le=1 << 14), NUMBER]  # px
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False), NUMBER]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False), NUMBER]
Fraction = Annotated[float, Field(ge=0, le=1), NUMBER]
PositiveFraction = Annotated[float, Field(gt=0, le=1), NUMBER]
Below1 = Annotated[float, Field(ge=0, lt=1), NUMBER]
Count = Annotated[int, Field(ge=1), NUMBER]
Natural = Annotated[int, Field(ge=0), NUMBER]
Seed = Annotated[int, Field(ge=0, lt=1 << 32), NUMBER]  # the range that NumPy's generators accept


def _expand_user(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:  # `~name` of an unknown user, so a file name
        return path


UserPath = Annotated[Path, AfterValidator(_expand_user)]  # `~` is the home folder


class Strict(BaseModel):
    """A part of the config that rejects unknown keys and suggests similar ones.

    A text field keeps `yes`, `007` or a date as typed, not as YAML parses them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _reject_unknown_keys(cls, values: Any) -> Any:
        """Reject unknown keys before pydantic does, whose message suggests no key."""
        unknown = [key for key in values if key not in cls.model_fields] if isinstance(values, dict) else []
        if unknown:
            hints = " ".join(_hint(str(key)[:40], cls) for key in unknown[:_SHOWN])
            raise ValueError(f"{hints} Valid: {', '.join(cls.model_fields)}")
        if not isinstance(values, dict):
            return plain(values)
        return {key: _parsed(value, _kinds(cls.model_fields[key].annotation)) for key, value in values.items()}


def _kinds(annotation: Any) -> set[Any]:
    """Return the types in a field's annotation."""
    if get_origin(annotation) is Literal:
        return {type(valid) for valid in get_args(annotation)}
    parts = get_args(annotation)[:1] if get_origin(annotation) is Annotated else get_args(annotation)
    return set().union(*map(_kinds, parts)) if parts else {annotation}


def _parsed(value: Any, kinds: set[Any]) -> Any:
    """Return the typed text for a text field, otherwise the value that YAML parses; leave nested parts alone."""
    if isinstance(value, list):
        return [_parsed(part, kinds - {type(None)}) for part in value]
    if isinstance(value, dict):
        return value if any(isinstance(kind, type) and issubclass(kind, Strict) for kind in kinds) else plain(value)
    if not isinstance(value, Scalar) or not kinds & {str, Path}:
        return plain(value)
    return None if value.value is None and type(None) in kinds else value.text


def _hint(key: str, part: type[Strict]) -> str:
    near = difflib.get_close_matches(key, part.model_fields, n=1)
    return f"Unknown key {key!r}." + (f" Did you mean {near[0]!r}?" if near else "")
