"""Write the tables of docs/phones.md from the results of `make phones`, between `<!-- measured: NAME -->` and its end.

python docs/write_phones.py benchmarks/phones.jsonl docs/phones.md
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spinenet_tf.nets.family import variant

MISSING = "Not measured yet: run `make phones`.\n"
BLOCK = re.compile(r"(<!-- measured: (\w+) -->\n).*?(<!-- end of measured -->)", re.DOTALL)
RIVAL = "YOLOv8n"
# Its documentation, for 80 classes: AP, and 8.7 B FLOPs at 640 px, 2 * 2^2 times the multiply-adds at 320 px.
PUBLISHED_AP, PUBLISHED_WORK = "37.3 at 640 px", f"{8700 / 2 / 2**2:,.0f} (published)"
TIMES = ("ms, 1 thread", "ms, 2 threads")
Rows = dict[str, dict[str, Any]]


def write(source: Path, page: Path) -> None:
    """Rewrite all blocks of a page.

    Raises:
        KeyError: the page names a block that is not in `BLOCKS`.
    """
    lines = source.read_text(encoding="utf-8").splitlines() if source.exists() else []
    rows = {row["unit"]: row for row in map(json.loads, lines)}
    text = page.read_text(encoding="utf-8")
    page.write_text(BLOCK.sub(lambda found: f"{found[1]}{BLOCKS[found[2]](rows)}{found[3]}", text), encoding="utf-8")


def machine(rows: Rows) -> str:
    """Return when and on what it was measured."""
    dates = sorted(row["date"] for row in rows.values() if "date" in row)
    if not dates:
        return MISSING
    found, days = rows["machine"], dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    return f"Measured on {days} on {found['cores']} cores of {found['processor']} ({found['platform']}; {versions}).\n"


def files(rows: Rows) -> str:
    """Return the table of all files at the models' own image sizes."""
    head = ("model", "px", "quantization", "MB", "arena MB", "moved MB", "operations", "partitions", *TIMES)
    lines = [
        (
            f"`{row['name']}`",
            row["side"],
            _quantization(file),
            _megabytes(file["bytes"]),
            _megabytes(file["arena_bytes"]),
            _megabytes(file["moved_bytes"]),
            file["operations"],
            _partitions(file),
            *_times(file),
        )
        for row in _units(rows, "files")
        for file in row["files"]
    ]
    return _table(head, lines)


def digits(rows: Rows) -> str:
    """Return the table of the AP that int8 costs."""
    lines = [
        (f"`{row['name']}`", f"{row['AP']:.3f}", f"{row['int8 AP']:.3f}", f"{row['AP'] - row['int8 AP']:.3f}")
        for row in _units(rows, "digits")
    ]
    return _table(("model", "AP in Keras", "AP in int8", "AP loss"), lines)


def rival(rows: Rows) -> str:
    """Return the table of all models and the YOLOv8n at the same size, and which of them is faster."""
    if "rival" not in rows:
        return MISSING
    found = rows["rival"]["files"]
    lines = [_rival_row(file) for file in sorted(found, key=lambda file: _median(file, "1"))]
    head = ("detector", "engine", "MB", "M multiply-adds", "partitions", *TIMES, "published COCO AP")
    return f"{_table(head, lines)}\n{''.join(_winners(found, threads) for threads in ('1', '2'))}"


def _rival_row(file: dict[str, Any]) -> tuple[str, ...]:
    size, times = _megabytes(file["bytes"]), _times(file)
    if file["name"] == RIVAL:
        return RIVAL, "ONNX Runtime, float", size, PUBLISHED_WORK, "", *times, PUBLISHED_AP
    engine, work = f"LiteRT, {_quantization(file)}", f"{file['multiply_adds'] / 1e6:,.0f}"
    return f"`{file['name']}`", engine, size, work, _partitions(file), *times, _published(file["name"])


def _winners(found: Sequence[dict[str, Any]], threads: str) -> str:
    """Return a sentence that names what is faster than the YOLOv8n, and what is slower."""
    (other,) = (file for file in found if file["name"] == RIVAL)
    limit = _median(other, threads)
    groups: dict[str, list[str]] = {"Faster": [], "Slower": []}
    for file in sorted(found, key=lambda file: _median(file, threads)):
        if file is not other:
            group = "Faster" if _median(file, threads) < limit else "Slower"
            groups[group].append(f"`{file['name']}` in {_quantization(file)}")
    named = "".join(f" {group}: {', '.join(names) or 'none'}." for group, names in groups.items())
    return f"- {threads} thread{'' if threads == '1' else 's'}: the YOLOv8n takes {limit:.1f} ms.{named}\n"


def _units(rows: Rows, kind: str) -> list[dict[str, Any]]:
    return [row for unit, row in rows.items() if unit.startswith(f"{kind}, ")]


def _times(file: dict[str, Any]) -> tuple[str, ...]:
    return tuple(f"{_median(file, threads):.1f}" for threads in ("1", "2"))


def _median(file: dict[str, Any], threads: str) -> float:
    return file["ms"][threads][1]


def _partitions(file: dict[str, Any]) -> str:
    """Return the number of XNNPACK's partitions, and of the operations outside of them."""
    outside = sum(file["outside"].values())
    return str(file["partitions"]) + (f", {outside} outside" if outside else "")


def _quantization(file: dict[str, Any]) -> str:
    return "float" if file["quantization"] == "none" else file["quantization"]


def _published(name: str) -> str:
    row = variant(name)
    return "-" if row.published.ap is None else f"{row.published.ap} at {row.image_size} px"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.2f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    if not rows:
        return MISSING
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines)


BLOCKS = {"machine": machine, "files": files, "digits": digits, "rival": rival}

if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]))
