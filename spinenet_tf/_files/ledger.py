"""Keep the results of long measurements: a JSON line per finished unit, so that the next run skips it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spinenet_tf._files.locks import wait_for_lock


class Ledger:
    """A file with a line for each finished unit, to which several processes may add lines.

    A process that is killed while it writes may leave an incomplete last line. It does not count, and the next line
    replaces it.
    """

    def __init__(self, path: Path):
        self.path = path

    def rows(self) -> dict[str, dict[str, Any]]:
        """Return the complete lines by unit."""
        content = self.path.read_bytes() if self.path.exists() else b""
        return {row["unit"]: row for row in map(json.loads, content[: _complete(content)].splitlines())}

    def add(self, unit: str, row: dict[str, Any]) -> None:
        """Add the line of a unit, and flush it to the disk."""
        line = json.dumps({"unit": unit} | row) + "\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b") as file:  # every write goes to the end
            wait_for_lock(file)
            file.seek(0)
            file.truncate(_complete(file.read()))
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())

    def once(self, unit: str, measure: Callable[[], dict[str, Any]]) -> None:
        """Measure and add a line, unless the unit has one."""
        if unit not in self.rows():
            self.add(unit, measure())


def _complete(content: bytes) -> int:
    """Return the number of bytes before an incomplete last line."""
    return content.rfind(b"\n") + 1
