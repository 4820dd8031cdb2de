"""Write the table of differences between ARM64 and x86 into docs/phones.md, from the results of `make arm`.

python docs/write_arm.py build/arm.json docs/phones.md
"""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

_BLOCK = re.compile(r"(<!-- arm -->\n).*?(<!-- end of arm -->)", re.DOTALL)

_MADE = "Written by `make arm` on {date}, with LiteRT {litert} in qemu {qemu} and on {machine}, one thread.\n"


def main(source: Path, page: Path) -> None:
    """Replace the block of the page."""
    text = page.read_text(encoding="utf-8")
    page.write_text(_BLOCK.sub(lambda found: found[1] + block(json.loads(source.read_text())) + found[2], text))


def block(results: dict[str, Any]) -> str:
    """Return the sentence on the measurement and the table, with a row for each kind of file."""
    largest: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for row in results["rows"]:
        cells = largest[_kind(row)]
        cells[row["processor"]] = max(cells.get(row["processor"], 0.0), row["difference"])
    processors = list(dict.fromkeys(row["processor"] for row in results["rows"]))
    head = ("quantization", "outputs", *(f"`-cpu {name}`" for name in processors))
    body = [(*kind, *(_shown(cells.get(name)) for name in processors)) for kind, cells in largest.items()]
    lines = (f"| {' | '.join(cells)} |" for cells in (head, ("---",) * len(head), *body))
    return "\n".join([_MADE.format(**results), *lines, ""])


def _kind(row: dict[str, Any]) -> tuple[str, str]:
    of = "" if row["model"] == "demo" else " of `spinenet_mobile_*`"
    return row["quantization"], row["outputs"] + of


def _shown(difference: float | None) -> str:
    if difference is None:
        return "not run"
    return "equal" if difference == 0 else f"{difference:.0e}"


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
