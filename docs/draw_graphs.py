"""Draw the graphs of docs/paper.md, and what one cross-scale connection does.

python docs/draw_graphs.py docs/images
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch

from spinenet_tf import backbone, plot_architecture
from spinenet_tf.nets.backbone import Backbone
from spinenet_tf.nets.calls import calls
from spinenet_tf.nets.costs import CONVS, per_pixel, without_values
from spinenet_tf.nets.resample import NearestUpsample

GRAPHS = {
    "ladder": ["r50_fpn", "r23_sp30", "r0_sp53", "spinenet_49"],
    "mobile": "spinenet_mobile_49",
    "efficient": "eff_spinenet_d0",
    "resnet-18": "resnet_18",
}
SIDE = 640
# Model, parent and block of each connection.
CONNECTIONS = [
    ("spinenet_49", 3, 6),
    ("spinenet_49", 10, 13),
    ("spinenet_mobile_49", 4, 7),
    ("spinenet_mobile_49", 11, 14),
]
_BOX, _GAP = 1.9, 0.45  # widths
_COLORS = {"conv": "#d3e5f5", "pool": "#e6dcf2", "up": "#fbe6c8", "node": "#dddddd"}


def draw_connections(path: Path) -> None:
    """Draw one row per connection, with the output size and the multiply-adds of each operation."""
    models = {name: without_values(lambda name=name: backbone(name, (SIDE, SIDE, 3))) for name, _, _ in CONNECTIONS}
    figure = Figure(figsize=(11.5, 5.9), layout="constrained")
    for axes, (name, parent, block) in zip(figure.subplots(len(CONNECTIONS)), CONNECTIONS, strict=True):
        _draw_connection(axes, models[name], parent, block)
    figure.savefig(path, metadata={"Date": None})


def _draw_connection(axes: Axes, model: Backbone, parent: int, block: int) -> None:
    spec, first = model.spec, len(model.spec.stem)
    level, target = spec.blocks[parent - first].level, spec.blocks[block - first].level
    prefix = f"block{block}_resample{spec.blocks[block - first].parents.index(parent)}"
    found = [(layer, output) for layer, output, _ in calls(model) if layer.name.startswith(prefix)]
    steps = [
        pair for pair in reversed(found) if isinstance(pair[0], (*CONVS, keras.layers.MaxPooling2D, NearestUpsample))
    ]
    axes.set(xlim=(0, 16.6), ylim=(-0.75, 0.85), aspect="equal")
    axes.axis("off")
    total = sum(_cost(layer, output) for layer, output in steps)
    axes.set_title(
        f"{model.name}, {SIDE} px: node {parent} (level {level}) to block {block} (level {target}), "
        f"{total / 1e6:.3g} M multiply-adds",
        loc="left",
        fontsize=10,
    )
    x = _box(axes, 0.1, [f"node {parent}", _size(steps[0][0].input)], "node")
    for layer, output in steps:
        x = _step(axes, x, layer, output)
    _sum(axes, x, block)


def _step(axes: Axes, x: float, layer: keras.layers.Layer, output: Any) -> float:
    kind = (
        "up"
        if isinstance(layer, NearestUpsample)
        else "pool"
        if isinstance(layer, keras.layers.MaxPooling2D)
        else "conv"
    )
    cost = _cost(layer, output)
    return _box(
        axes,
        _line(axes, x),
        [_title(layer, output), _size(output), f"{cost / 1e6:.3g} M" if cost else "no weights"],
        kind,
    )


def _cost(layer: keras.layers.Layer, output: Any) -> int:
    """Return the multiply-adds of an operation for one image."""
    return math.prod(output.shape[1:-1]) * per_pixel(layer) if isinstance(layer, CONVS) else 0


def _title(layer: keras.layers.Layer, output: Any) -> str:
    if isinstance(layer, NearestUpsample):
        return f"nearest, x{output.shape[1] // layer.input[0].shape[1]}"
    if isinstance(layer, keras.layers.MaxPooling2D):
        return "3x3 max, stride 2"
    depthwise = " depthwise" if isinstance(layer, keras.layers.DepthwiseConv2D) else " conv"
    stride = ", stride 2" if layer.strides != (1, 1) else ""
    return "x".join(map(str, layer.kernel_size)) + depthwise + stride


def _size(x: Any) -> str:
    return " x ".join(map(str, x.shape[1:]))


def _box(axes: Axes, x: float, lines: Sequence[str], kind: str) -> float:
    axes.add_patch(
        FancyBboxPatch(
            (x, -0.5),
            _BOX,
            1.0,
            boxstyle="round,pad=0,rounding_size=0.08",
            facecolor=_COLORS[kind],
            edgecolor="#555555",
        )
    )
    for row, line in enumerate(lines):
        y = (len(lines) - 1) * 0.15 - row * 0.3
        axes.text(
            x + _BOX / 2,
            y,
            line,
            ha="center",
            va="center",
            fontsize=7.5,
            color="#333333" if row else "black",
        )
    return x + _BOX


def _line(axes: Axes, x: float) -> float:
    axes.annotate(
        "", (x + _GAP, 0), (x, 0), arrowprops={"arrowstyle": "-|>", "color": "#555555", "shrinkA": 0, "shrinkB": 0}
    )
    return x + _GAP


def _sum(axes: Axes, x: float, block: int) -> None:
    x = _line(axes, x)
    axes.add_patch(Circle((x + 0.22, 0), 0.22, facecolor="white", edgecolor="#555555"))
    axes.text(x + 0.22, 0, "+", ha="center", va="center", fontsize=11)
    axes.annotate(
        "",
        (x + 0.22, 0.22),
        (x + 0.22, 0.75),
        arrowprops={"arrowstyle": "-|>", "color": "#555555", "shrinkA": 0, "shrinkB": 0},
    )
    axes.text(x + 0.35, 0.6, "other parent", va="center", fontsize=7.5)
    _box(axes, _line(axes, x + 0.44), ["activation,", f"then block {block}"], "node")


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, models in GRAPHS.items():
        plot_architecture(models, folder / f"graph-{name}.svg")
    with matplotlib.rc_context({"svg.hashsalt": "connection"}):
        draw_connections(folder / "connection.svg")
