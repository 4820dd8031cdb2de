"""Write the notebook of a page: each Python block becomes a code cell, the text between them a text cell.

python docs/write_notebook.py docs/first-detector.md docs/first-detector.ipynb
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

_KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def write(page: Path, target: Path) -> None:
    """Write the notebook without outputs, so that it has only what the page has."""
    parts = re.split(r"```python\n(.*?)```\n", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    cells = [_cell(number, text.strip("\n")) for number, text in enumerate(parts) if text.strip()]
    notebook = {"cells": cells, "metadata": {"kernelspec": _KERNEL}, "nbformat": 4, "nbformat_minor": 5}
    text = json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True)  # in the order of `ruff format`
    target.write_text(text + "\n", encoding="utf-8")


def _cell(number: int, text: str) -> dict[str, Any]:
    """Return a cell; `re.split` returns text and code alternately, and text first."""
    kind: dict[str, Any] = {"cell_type": "markdown"}
    if number % 2:
        kind = {"cell_type": "code", "execution_count": None, "outputs": []}
    return {"id": f"cell-{number}", **kind, "metadata": {}, "source": text.splitlines(keepends=True)}


if __name__ == "__main__":
    write(*map(Path, sys.argv[1:]))
