"""What all parts of a config's schema have in common."""

from __future__ import annotations

import difflib
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

Side = Annotated[int, Field(ge=32)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0, le=1)]


class Strict(BaseModel):
    """A part that refuses keys that it does not know, and names the nearest that it does."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _name_the_nearest(cls, values: Any) -> Any:
        """Refuse unknown keys before pydantic does, which would not say what was meant."""
        for key in set(values) - set(cls.model_fields) if isinstance(values, dict) else ():
            near = difflib.get_close_matches(str(key), cls.model_fields, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"Unknown key {key!r}.{hint} Valid are: {', '.join(cls.model_fields)}")
        return values
