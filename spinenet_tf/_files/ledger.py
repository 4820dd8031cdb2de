"""Keep the results of long measurements: a JSON line per finished unit, so that the next run skips it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spinenet_tf._files.appending import append_line, complete_lines


class Ledger:
    """A file with a line for each finished unit, to which several processes may add lines.

    A process that is killed while it writes may leave an incomplete last line. It does not count, and the next line
    replaces it.
    """

    def __init__(self, path: Path):
        self.path = path

    def rows(self) -> dict[str, dict[str, Any]]:
        """Return the complete lines by unit."""
        return {row["unit"]: row for row in map(json.loads, complete_lines(self.path))}

    def add(self, unit: str, row: dict[str, Any]) -> None:
        """Add the line of a unit, and flush it to the disk."""
        append_line(self.path, json.dumps({"unit": unit} | row))

    def once(self, unit: str, measure: Callable[[], dict[str, Any]]) -> None:
        """Measure and add a line, unless the unit has one."""
        if unit not in self.rows():
            self.add(unit, measure())
