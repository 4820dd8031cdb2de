"""Draw the course of a search, its Pareto front and the importance of its decisions, as SVG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GRAY = "#1f77b4", "#d95f02", "#999999"
_SHOWN = 20  # decisions


def draw_course(values: Sequence[float], label: str) -> bytes:
    """Draw the value of each trained graph in order, and the best so far."""
    figure, axes = _axes("trained graphs", label)
    numbers = np.arange(1, len(values) + 1)
    axes.plot(numbers, values, "o", color=GRAY, markersize=4, label="a graph")
    axes.step(numbers, np.maximum.accumulate(values), where="post", color=BLUE, label="the best so far")
    axes.legend(loc="lower right")
    return svg(figure)


def draw_front(costs: Sequence[float], aps: Sequence[float], label: str) -> bytes:
    """Draw the AP of each graph against its cost, and the front of those that no other graph beats in both."""
    figure, axes = _axes(label, "AP")
    axes.plot(costs, aps, "o", color=GRAY, markersize=4, label="a graph")
    front = front_of(costs, aps)
    line = [(costs[index], aps[index]) for index in front]
    axes.step(*zip(*line, strict=True), where="post", color=ORANGE, marker="o", markersize=5, label="Pareto front")
    axes.legend(loc="lower right")
    return svg(figure)


def front_of(costs: Sequence[float], aps: Sequence[float]) -> list[int]:
    """Return the graphs with a higher AP than all that cost at most as much, in ascending order of the cost."""
    front: list[int] = []
    for index in sorted(range(len(costs)), key=lambda index: (costs[index], -aps[index])):
        if not front or aps[index] > aps[front[-1]]:
            front.append(index)
    return front


def draw_importances(importances: Mapping[str, float]) -> bytes:
    """Draw the importance of the most important decisions as bars."""
    shown = list(importances.items())[:_SHOWN][::-1]
    figure, axes = _axes("share of the variance of the values", "", height=0.6 + 0.22 * len(shown))
    axes.barh([name for name, _ in shown], [value for _, value in shown], color=BLUE)
    return svg(figure)


def draw_pairs(short: Sequence[float], long: Sequence[float]) -> bytes:
    """Draw the AP of graphs after the long training against that after the short one."""
    figure, axes = _axes("AP after the proxy's training", "AP after the longer training")
    axes.plot(short, long, "o", color=BLUE)
    return svg(figure)


def svg(figure: Figure) -> bytes:
    """Return a figure as an SVG file without date and random ids."""
    import matplotlib

    file = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "search"}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def _axes(x: str, y: str, height: float = 3.6) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, height), layout="constrained")
    axes = figure.add_subplot(xlabel=x, ylabel=y)
    axes.grid(alpha=0.3)
    return figure, axes
