"""Write the tables of docs/heads.md from the results of `make heads`, between `<!-- measured: NAME -->` and its end.

python docs/write_heads.py benchmarks/heads.jsonl docs/heads.md
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spinenet_tf._files.ledger import Ledger

BLOCK = re.compile(r"(<!-- measured: (\w+) -->\n).*?(<!-- end of measured -->)", re.DOTALL)
MISSING = "not measured yet"
# The title of a row in the results -> its name on the page.
HEADS = {
    "RetinaNet": "RetinaNet, P3 to P5",
    "CenterNet, stride 4": "CenterNet, P3 to P5, stride 4 (default)",
    "CenterNet, stride 8": "CenterNet, P3 to P5, stride 8",
    "CenterNet, stride 8, P3 alone": "CenterNet, P3 alone, stride 8",
    "CenterNet, stride 8, P3 to P7": "CenterNet, P3 to P7, stride 8",
    "Mask R-CNN": "Mask R-CNN, P3 to P5",
}
TRIED = ("RetinaNet", "CenterNet, stride 8", "Mask R-CNN")
FLOAT = "none"
NAMES = {FLOAT: "float", "int8": "int8", "dynamic": "dynamic range"}
METRICS = ("AP", "mask_AP")
Row = dict[str, Any]
Rows = dict[str, Row]


def write(source: Path, page: Path) -> None:
    """Rewrite all blocks of a page.

    Raises:
        KeyError: the page names a block that is not in `BLOCKS`.
    """
    rows, text = Ledger(source).rows(), page.read_text(encoding="utf-8")
    page.write_text(BLOCK.sub(lambda found: f"{found[1]}{BLOCKS[found[2]](rows)}{found[3]}", text), encoding="utf-8")


def heads(rows: Rows) -> str:
    """Return the table of heads, with a line for the file in float and one for the quantized file."""
    lines = [line for title, name in HEADS.items() for line in _lines_of(name, _full_runs(rows, title), rows)]
    return _table(("head", "file", "trainings", "box AP", "mask AP", "MB", "ms"), lines)


def rates(rows: Rows) -> str:
    """Return the table of the trials of learning rates."""
    lines: list[Sequence[Any]] = []
    for title in TRIED:
        found = [row for row in rows.values() if row.get("title") == title and not _quantization(row)]
        lines += [(title, row["learning_rate"], *_spreads([row])) for row in found] or [_missing(title, 4)]
    return _table(("head", "learning rate", "box AP", "mask AP"), lines)


def machine(rows: Rows) -> str:
    """Return what the latencies were measured on."""
    found = rows.get("latency", {})
    if "processor" not in found:
        return "The latencies are those of a busy x86 machine that the results do not name.\n"
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    return f"The latencies were measured on {found['processor']} ({found['platform']}; {versions}).\n"


def _lines_of(name: str, runs: Sequence[Row], rows: Rows) -> list[Sequence[Any]]:
    """Return the lines of a head from its runs, one per seed."""
    if not runs:
        return [_missing(name, 7)]
    quantization = _quantization(runs[0])
    files = {FLOAT: "", quantization: f"{quantization} "}
    return [
        (name, NAMES[file], len(runs), *_spreads(runs, start), _megabytes(runs[0], file), _least(rows, runs[0], file))
        for file, start in files.items()
    ]


def _full_runs(rows: Rows, title: str) -> list[Row]:
    """Return a head's runs, except for trials, which have no files."""
    return [row for row in rows.values() if row.get("title") == title and _quantization(row)]


def _quantization(row: Row) -> str:
    """Return the quantization of the row's quantized file, or "" if the run is a trial."""
    return next((name for name in NAMES if f"{name} AP" in row), "")


def _spreads(runs: Sequence[Row], start: str = "") -> list[str]:
    """Return mean, lowest and highest of each metric, "-" for a metric that the head does not have."""
    return [_spread([row[f"{start}{name}"] for row in runs if f"{start}{name}" in row]) for name in METRICS]


def _spread(values: Sequence[float]) -> str:
    if len(values) < 2:
        return "".join(f"{value:.3f}" for value in values) or "-"
    return f"{sum(values) / len(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def _megabytes(row: Row, file: str) -> str:
    return f"{row[f'{file} bytes'] / 1e6:.2f}"


def _least(rows: Rows, row: Row, file: str) -> str:
    """Return the least latency of a file in milliseconds."""
    found = rows.get("latency", {}).get("least and median ms", {}).get(f"{row['title']}, {file}")
    return f"{found[0]:.2f}" if found else MISSING


def _missing(name: str, columns: int) -> Sequence[str]:
    return name, MISSING, *[""] * (columns - 2)


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    return "".join("| " + " | ".join(map(str, line)) + " |\n" for line in [head, ["---"] * len(head), *rows])


BLOCKS = {"heads": heads, "rates": rates, "machine": machine}

if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]))
