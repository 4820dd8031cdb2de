"""The picture of a benchmark: AP against latency, drawn without pyplot's state."""

from __future__ import annotations

import io
from collections.abc import Sequence

from spinenet_tf.export.check.measurement import Measurement


def draw_tradeoff(measurements: Sequence[Measurement]) -> bytes:
    """Draw AP over the median latency, a line for each model and engine through its numbers of threads; return a PNG.

    Raises:
        ValueError: no AP was measured.
    """
    from matplotlib.figure import Figure

    lines: dict[str, list[tuple[float, float, int | None]]] = {}
    for row in measurements:
        if row.ap is not None:
            lines.setdefault(f"{row.model}, {row.engine}", []).append((row.median_ms, row.ap, row.threads))
    if not lines:
        raise ValueError("A plot of AP against latency needs AP, and none of these models has one.")
    figure = Figure(figsize=(9.6, 5.4), layout="constrained")
    axes = figure.add_subplot(xlabel="ms per call, median", ylabel="AP", xscale="log")
    for name, points in lines.items():
        axes.plot([time for time, _, _ in points], [ap for _, ap, _ in points], marker="o", label=name)
        for time, ap, threads in points:
            axes.annotate(str(threads or ""), (time, ap), (0, 5), textcoords="offset points")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.set_title("Numbers at the points are threads", fontsize="small", loc="left")
    axes.grid(alpha=0.3, which="both")
    figure.legend(loc="outside lower center", fontsize="small", ncols=2)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=120)
    return file.getvalue()
