"""Plot how time and memory grow with the work, from the rows of `scaling`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.results import Row, picture

COLORS = {"theirs": "#888888", "ours": "#1f77b4"}


def draw(rows: Sequence[Row], folder: Path) -> list[Path]:
    """Write `scaling-*.png` into the folder, with time and memory of one series side by side, and return the files."""
    series: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        if row.x is not None:
            title, _, quantity = row.work.partition("/")[2].rpartition(", ")
            series.setdefault(title, {}).setdefault(quantity, []).append(row)
    return [_draw(title, quantities, folder) for title, quantities in series.items()]


def _draw(title: str, quantities: dict[str, list[Row]], folder: Path) -> Path:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    for axes, (quantity, rows) in zip(
        figure.subplots(1, len(quantities), squeeze=False)[0], quantities.items(), strict=True
    ):
        rows = sorted(rows, key=lambda row: row.x or 0)
        places = [row.x for row in rows]
        for side, label in (("theirs", "TF Model Garden"), ("ours", "spinenet_tf")):
            axes.plot(places, [getattr(row, side) for row in rows], "o-", color=COLORS[side], label=label)
        axes.set(xscale="log", yscale="log", xlabel=title, ylabel=f"{quantity}, {rows[0].unit}")
        axes.set_xticks(places, [f"{place:g}" for place in places])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    path = folder / picture(rows[0])
    figure.savefig(path, dpi=80)
    return path
