"""Draw graphs as figure 4 of the paper does: blocks in their order, at their level, with all connections."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from spinenet_tf._files.writing import write_whole
from spinenet_tf.nets.backbone import levels_of
from spinenet_tf.nets.family import Variant, variant
from spinenet_tf.nets.graph_shapes import NARROW, OUTPUT, WIDE, arrow, legend_entries, shape
from spinenet_tf.nets.specs import ArchitectureSpec
from spinenet_tf.nets.style import Style
from spinenet_tf.nets.wiring import Edge, Node, wiring

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".svg", ".png", ".pdf")
_INCH = 0.62  # of a column and of a level


class _Graph(NamedTuple):
    title: str
    nodes: list[Node]
    edges: list[Edge]

    @property
    def levels(self) -> tuple[int, int]:
        """The finest and the coarsest level."""
        return min(node.level for node in self.nodes), max(node.level for node in self.nodes)


def plot_architecture(model: Any, to_file: str | os.PathLike | None = None, *, overwrite: bool = True) -> Figure:
    """Draw the graph of a model as a matplotlib figure.

    `model` is the name of a model, an `ArchitectureSpec`, or a backbone, detector or classifier of this package; a list
    of them gives one figure with a drawing of each. Columns are nodes in the order of computation, rows are levels: a
    node of level L has 1 / 2^L of the input's resolution. The shape of a node shows its kind; its width grows with the
    square root of its channels. Nodes that no output of the model needs are not built, and so not drawn.

    `to_file` is where the drawing is written, as .svg, .png or .pdf; None writes no file.

    Raises:
        ValueError: a name is unknown, `model` is something else, or `to_file` has another suffix.
        FileExistsError: the file exists and `overwrite` is False.
        WriteError: the disk is full or read-only, or the user lacks permission to write.
    """
    from matplotlib.figure import Figure

    path = None if to_file is None else _checked(Path(to_file))
    graphs = [_graph(one) for one in (model if isinstance(model, list | tuple) else [model])]
    rows = [coarsest - finest + 2.4 for finest, coarsest in (graph.levels for graph in graphs)]
    columns = max(graph.nodes[-1].number for graph in graphs) + 2
    figure = Figure(figsize=(columns * _INCH, (sum(rows) + 1.2) * _INCH), layout="constrained")
    for axes, graph in zip(figure.subplots(len(graphs), squeeze=False, height_ratios=rows)[:, 0], graphs, strict=True):
        _draw(axes, graph, columns)
    entries = legend_entries(node for graph in graphs for node in graph.nodes)
    figure.legend(handles=entries, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    if path is not None:
        _write(figure, path, overwrite)
    return figure


def _graph(model: Any) -> _Graph:
    net = getattr(model, "backbone", model)
    if hasattr(net, "spec") and hasattr(net, "style"):
        spec, style, title = net.spec, net.style, model.name
    elif isinstance(model, str | ArchitectureSpec | Variant):
        row = variant(model)
        spec, style = row.graph, Style.of(dict(row.style))
        title = model if isinstance(model, str) else spec.name
    else:
        kinds = "the name of a model, an ArchitectureSpec, or a model of spinenet_tf"
        raise ValueError(f"`model` must be {kinds}. Received: an object of type {type(model).__name__}")
    finest, coarsest = levels_of(spec, style)
    return _Graph(title, *wiring(spec, range(finest, coarsest + 1), style.width, style.endpoint))


def _draw(axes: Axes, graph: _Graph, columns: int) -> None:
    by_number = {node.number: node for node in graph.nodes}
    most = max(node.channels for node in graph.nodes)
    widths = {node.number: NARROW + (WIDE - NARROW) * (node.channels / most) ** 0.5 for node in graph.nodes}
    for edge in graph.edges:
        axes.add_patch(arrow(by_number[edge.source], by_number[edge.target], widths, edge))
    for node in graph.nodes:
        axes.add_patch(shape(node, widths[node.number]))
        text: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8, "zorder": 4}
        axes.text(node.number, node.level, str(node.number), **text)
        if node.is_output:
            axes.text(node.number, node.level + 0.5, f"P{node.level}", color=OUTPUT, **text)
    finest, coarsest = graph.levels
    levels = range(finest, coarsest + 1)
    axes.set(xlim=(-0.8, columns - 1.2), ylim=(finest - 0.7, coarsest + 0.9), aspect="equal", xticks=[])
    axes.set_title(graph.title, loc="left", fontsize=11)
    axes.set_yticks(levels, [f"level {level}" for level in levels])
    axes.grid(axis="y", alpha=0.25)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def _checked(path: Path) -> Path:
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"A drawing is written as one of {', '.join(FORMATS)}. Received: to_file={str(path)!r}")
    return path


def _write(figure: Figure, path: Path, overwrite: bool) -> None:
    """Write a figure; equal graphs give equal SVG files, which have no date and no random ids."""
    import matplotlib

    content, kind = io.BytesIO(), path.suffix.lower()[1:]
    with matplotlib.rc_context({"svg.hashsalt": path.stem}):
        figure.savefig(content, format=kind, dpi=120, metadata={"Date": None} if kind == "svg" else None)
    write_whole(path, content.getvalue(), overwrite=overwrite)
