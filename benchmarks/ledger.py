"""Keep the results of long measurements: a JSON line per finished unit, so that the next run skips it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Ledger:
    """A file with a line for each finished unit."""

    def __init__(self, path: Path):
        self.path = path

    def rows(self) -> dict[str, dict[str, Any]]:
        """Return the lines by unit."""
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        return {row["unit"]: row for row in map(json.loads, lines)}

    def once(self, unit: str, measure: Callable[[], dict[str, Any]]) -> None:
        """Measure and add a line, unless the unit has one."""
        if unit not in self.rows():
            line = json.dumps({"unit": unit} | measure())
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a") as file:
                file.write(f"{line}\n")
