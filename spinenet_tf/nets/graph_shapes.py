"""The shapes of a drawn graph: nodes by kind, and connections by direction."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from spinenet_tf.nets.wiring import BLOCK, PYRAMID, STEM, Edge, Node

if TYPE_CHECKING:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch
    from matplotlib.path import Path

HEIGHT = 0.56  # of a node, if columns are 1 wide and levels 1 high
NARROW, WIDE = 0.34, 0.82  # the width of a node with few channels, and of one with the most
FILL = {STEM: "#dddddd", BLOCK: "#d3e5f5", PYRAMID: "#fbe6c8"}
OUTLINE, OUTPUT = "#555555", "#c0392b"
FINER, COARSER, SAME = "#d9822b", "#2b7bba", "#8a8a8a"  # the colors of connections
_REACH = 1.1  # how far a connection keeps its direction
# The marker in the legend and the name of each kind.
_KINDS = {
    "bottleneck": ("s", "bottleneck block"),
    "residual": ("D", "residual block"),
    "mbconv": ("h", "MBConv block"),
    "fused_mbconv": ("p", "fused MBConv block"),
    "conv": ("o", "convs of the FPN"),
    "deconv": ("o", "conv and transposed conv"),
}
# The corners of the kinds that are no rectangle, in halves of the width and the height.
_CORNERS: dict[str, list[tuple[float, float]]] = {
    "residual": [(-1, 0), (0, 1), (1, 0), (0, -1)],
    "mbconv": [(-1, 0), (-0.6, 1), (0.6, 1), (1, 0), (0.6, -1), (-0.6, -1)],
    "fused_mbconv": [(-0.7, -1), (-1, 0.2), (0, 1.2), (1, 0.2), (0.7, -1)],
}


def shape(node: Node, width: float) -> Patch:
    """Return a node as rectangle (bottleneck), diamond (residual), hexagon, pentagon (MBConv) or ellipse (pyramid)."""
    from matplotlib.patches import Ellipse, Polygon, Rectangle

    x, y, half, up = node.number, node.level, width / 2, HEIGHT / 2
    color = OUTPUT if node.is_output else OUTLINE
    look: dict[str, Any] = {"facecolor": FILL[node.part], "edgecolor": color, "zorder": 3}
    look["linewidth"] = 2.0 if node.is_output else 1.0
    if node.kind == "residual":
        half, up = min(1.25 * half, 0.46), 1.25 * up  # room for the number, and between two neighbors
    if node.kind in _CORNERS:
        return Polygon([(x + half * right, y + up * above) for right, above in _CORNERS[node.kind]], **look)
    if node.kind in ("conv", "deconv"):
        return Ellipse((x, y), width, HEIGHT, **look)
    return Rectangle((x - half, y - up), width, HEIGHT, **look)


def arrow(start: Node, end: Node, widths: dict[int, float], edge: Edge) -> Patch:
    """Return a connection as a curve from the right side of a node to the left side of another."""
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.patheffects import withStroke

    return FancyArrowPatch(
        path=_curve(
            (start.number + widths[start.number] / 2, start.level), (end.number - widths[end.number] / 2, end.level)
        ),
        arrowstyle="-|>",
        mutation_scale=7,
        color=_color(start.level, end.level),
        linewidth=1.1,
        linestyle="--" if edge.dangles else "-",
        path_effects=[withStroke(linewidth=2.6, foreground="white")],
        zorder=2,
    )


def _color(level: int, target: int) -> str:
    return SAME if level == target else COARSER if level < target else FINER


def _curve(start: tuple[float, float], end: tuple[float, float]) -> Path:
    """Return a curve that is level at both ends; if both are on one level, it passes above the nodes in between."""
    from matplotlib.path import Path

    (x, y), (to_x, to_y) = start, end
    reach = min(0.5 * (to_x - x), _REACH)
    lift = 0.55 + 0.04 * (to_x - x) if y == to_y and to_x - x > 1 else 0.0
    return Path([start, (x + reach, y + lift), (to_x - reach, to_y + lift), end], [Path.MOVETO, *[Path.CURVE4] * 3])


def legend_entries(nodes: Iterable[Node]) -> list[Line2D]:
    """Return the entries of a legend for the kinds that occur in `nodes`, and for all connections."""
    from matplotlib.lines import Line2D

    found = {(node.kind, node.part): node for node in nodes}
    plain: dict[str, Any] = {"linestyle": "none", "markersize": 9, "markeredgecolor": OUTLINE}
    entries = []
    for kind, part in sorted(found, key=lambda pair: (list(FILL).index(pair[1]), pair[0])):
        marker, name = _KINDS[kind]
        title = f"{name} of the stem" if part == STEM else name
        entries.append(Line2D([], [], marker=marker, color=FILL[part], label=title, **plain))
    red = plain | {"markeredgecolor": OUTPUT, "markeredgewidth": 2}
    entries.append(Line2D([], [], marker="s", color="white", label="output", **red))
    lines = {"to a coarser level": COARSER, "to a finer level": FINER, "to the same level": SAME}
    entries += [Line2D([], [], color=color, label=name) for name, color in lines.items()]
    return [*entries, Line2D([], [], color=SAME, linestyle="--", label="unread node, added to an output")]
