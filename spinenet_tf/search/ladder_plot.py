"""Draw the results of the ladder: AP against multiply-adds, with the spread of each net."""

from __future__ import annotations

import io
from collections.abc import Sequence

from spinenet_tf.search.ladder import GROUPS
from spinenet_tf.search.ladder_results import Result

MARKERS = dict(zip(GROUPS, "osD^", strict=True))


def draw_results(results: Sequence[Result], kind: str = "png") -> bytes:
    """Return a picture, "png" or "svg": a point per net at its mean AP, with a bar of one standard deviation each way.

    Raises:
        ValueError: there are no results.
    """
    import matplotlib
    from matplotlib.figure import Figure

    if not results:
        raise ValueError("There are no results to draw yet.")
    figure = Figure(figsize=(9, 5.4), layout="constrained")
    axes = figure.add_subplot(xlabel="million multiply-adds of the detector", ylabel="AP under the proxy")
    for number, result in enumerate(results):
        place, color = (result.multiply_adds / 1e6, result.mean), f"C{number % 10}"
        axes.errorbar(*place, yerr=result.spread, fmt=MARKERS[result.rung.group], color=color, capsize=3)
        axes.annotate(result.rung.name, place, (7, 4), textcoords="offset points", fontsize=8, color=color)
    axes.margins(x=0.15)
    axes.grid(alpha=0.3)
    file = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "ladder"}):
        figure.savefig(file, format=kind, dpi=120, metadata={"Date": None} if kind == "svg" else None)
    return file.getvalue()
