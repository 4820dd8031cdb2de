"""What a graph is worth: its AP, alone or against its costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from spinenet_tf.search.config import ObjectiveConfig

Direction = Literal["minimize", "maximize"]


@dataclass(frozen=True)
class Cost:
    """A measured cost and its target, in multiply-adds or milliseconds."""

    kind: str
    value: float
    target: float

    @property
    def relative(self) -> float:
        """The cost in targets; at most 1 is within the limit."""
        return self.value / self.target

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"value": self.value, "target": self.target}


def directions(objective: ObjectiveConfig) -> list[Direction]:
    """Return the directions of a study with this objective."""
    return ["maximize", "minimize"] if objective.kind == "front" else ["maximize"]


def value_of(objective: ObjectiveConfig, ap: float, costs: Sequence[Cost]) -> float | tuple[float, float]:
    """Return the value of a graph with this AP, 0..1, and these costs; for a front, the AP and the relative cost."""
    if objective.kind == "front":
        return ap, costs[0].relative
    if objective.kind == "product":
        factor = 1 / costs[0].relative
        return ap * (factor if objective.soft else min(1.0, factor)) ** objective.weight
    return ap
