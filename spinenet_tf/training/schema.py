"""What all parts of a config's schema have in common."""

from __future__ import annotations

import difflib
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

_SHOWN = 5  # unknown keys


def _check_number(value: Any) -> Any:
    if isinstance(value, bool):  # which Python takes for 1 or 0
        raise ValueError(f"Input should be a number. Received: {value}")
    return value


NUMBER = BeforeValidator(_check_number)
Side = Annotated[int, Field(ge=32, le=1 << 14), NUMBER]  # px
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False), NUMBER]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False), NUMBER]
Fraction = Annotated[float, Field(ge=0, le=1), NUMBER]
Share = Annotated[float, Field(gt=0, le=1), NUMBER]
Below1 = Annotated[float, Field(ge=0, lt=1), NUMBER]
Count = Annotated[int, Field(ge=1), NUMBER]
Natural = Annotated[int, Field(ge=0), NUMBER]
Seed = Annotated[int, Field(ge=0, lt=1 << 32), NUMBER]  # as NumPy's generators take them


class Strict(BaseModel):
    """A part that refuses keys that it does not know, and names the nearest that it does."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _name_the_nearest(cls, values: Any) -> Any:
        """Refuse unknown keys before pydantic does, which would not say what was meant."""
        strangers = [key for key in values if key not in cls.model_fields] if isinstance(values, dict) else []
        if strangers:
            hints = " ".join(_hint(str(key)[:40], cls) for key in strangers[:_SHOWN])
            raise ValueError(f"{hints} Valid are: {', '.join(cls.model_fields)}")
        return values


def _hint(key: str, part: type[Strict]) -> str:
    near = difflib.get_close_matches(key, part.model_fields, n=1)
    return f"Unknown key {key!r}." + (f" Did you mean {near[0]!r}?" if near else "")
