"""Names of an artifact's input and outputs: one flat name per tensor."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

INPUT = "images"
LOGITS = "logits"
DEFAULT = "serving_default"  # the signature that TensorFlow's own tools use
_LEVEL = re.compile(r"P\d+")


def flatten(outputs: Any) -> dict[str, Any]:
    """Return a model's outputs by flat names: `class_logits_P3`, `box_deltas_P3`, ..., `logits`, or `P3`, ..."""
    if not isinstance(outputs, Mapping):
        return {LOGITS: outputs}
    flat: dict[str, Any] = {}
    for name, value in outputs.items():
        flat |= {f"{name}_{level}": x for level, x in value.items()} if isinstance(value, Mapping) else {name: value}
    return flat


def nest(flat: Mapping[str, Any]) -> Any:
    """Undo `flatten`: return the outputs as the Keras model does, levels in ascending order."""
    if LOGITS in flat:
        return flat[LOGITS]
    nested: dict[str, Any] = {}
    for name in sorted(flat):
        output, _, level = name.rpartition("_")
        if output and _LEVEL.fullmatch(level):
            nested.setdefault(output, {})[level] = flat[name]
        else:
            nested[name] = flat[name]
    return nested
