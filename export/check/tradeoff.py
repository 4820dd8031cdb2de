"""Plot a benchmark as AP over latency, without the global state of pyplot."""

from __future__ import annotations

import io
from collections.abc import Sequence

from spinenet_tf.export.check.measurement import Measurement


def draw_tradeoff(measurements: Sequence[Measurement]) -> bytes:
    """Return a PNG of AP over median latency, with one line per model and engine and one point per number of threads.

    Raises:
        ValueError: no AP was measured.
    """
    from matplotlib.figure import Figure

    lines: dict[str, list[tuple[float, float, int | None]]] = {}
    for row in measurements:
        if row.ap is not None:
            images = f", {row.input_shape[0]} images per call" if row.input_shape[0] > 1 else ""
            lines.setdefault(f"{row.model}, {row.engine}{images}", []).append((row.median_ms, row.ap, row.threads))
    if not lines:
        raise ValueError("A plot of AP over latency needs AP, but no AP was measured.")
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
