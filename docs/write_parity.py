"""Write docs/parity.md from what `make parity` measured: the largest difference of each piece of each model.

python docs/write_parity.py build/parity.jsonl docs/parity.md
"""

from __future__ import annotations

import json
import platform
import sys
from importlib.metadata import version
from pathlib import Path

HEADER = """# Parity with TF Model Garden

The largest difference between this package and the installed tf-models-official {official} (TensorFlow {tensorflow},
Keras {keras}, {machine}), with the same random weights and inputs. Features, logits and losses are relative to the
largest expected value, gradients to the largest gradient, a step to the largest step. In training mode float32 has a
floor of some per cent within Model Garden itself, so these are compared in float64. Written by `make parity`.

| model | piece | largest difference | bound |
|---|---|---|---|
"""


def main(source: Path, target: Path) -> None:
    """Read rows `{"model", "piece", "difference", "bound"}` and write the table, one line for each model and piece."""
    largest: dict[tuple[str, str], dict] = {}
    for row in map(json.loads, source.read_text().splitlines()):
        key = (row["model"], row["piece"])
        if key not in largest or row["difference"] > largest[key]["difference"]:
            largest[key] = row
    header = HEADER.format(
        official=version("tf-models-official"),
        tensorflow=version("tensorflow"),
        keras=version("keras"),
        machine=f"{platform.machine()} {platform.system()}",
    )
    lines = [
        f"| {model} | {piece} | {row['difference']:.1e} | {row['bound']:.0e} |"
        for (model, piece), row in sorted(largest.items())
    ]
    target.write_text(header + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
