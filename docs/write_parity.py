"""Write docs/parity.md from the results of `make parity`: the largest difference of each part of each model.

python docs/write_parity.py build/parity.jsonl docs/parity.md
"""

from __future__ import annotations

import json
import platform
import sys
from importlib.metadata import version
from pathlib import Path

HEADER = """# Parity with TF Model Garden

The largest difference between this package and tf-models-official {official} (TensorFlow {tensorflow},
Keras {keras}, {machine}), with the same random weights and inputs. Features, logits and losses are relative to the
largest expected value, gradients to the largest gradient, and a training step to its largest weight change. Training
mode is compared in float64, because Model Garden's own float32 results vary by a few percent there. Written by
`make parity`.

| model | part | largest difference | bound |
|---|---|---|---|
"""


def main(source: Path, target: Path) -> None:
    """Write a table with a line for each model and part, from rows `{"model", "piece", "difference", "bound"}`."""
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
