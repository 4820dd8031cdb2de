"""Draw precision-recall curves as SVG, without a display and without pyplot's global state."""

from __future__ import annotations

import io

import numpy as np

COLORS = {"IoU 0.50": "#1f77b4", "IoU 0.75": "#d95f02", "mean of IoU 0.50 to 0.95": "#444444"}


def curves(precision: np.ndarray) -> dict[str, np.ndarray]:
    """Select the curves to show, `[recall, ...]`, from an evaluation's `precision` `[IoU, recall, ...]`."""
    return dict(zip(COLORS, (precision[0], precision[5], precision.mean(axis=0)), strict=True))


def draw_curves(precision: np.ndarray) -> bytes:
    """Return an SVG file of the curves in `[IoU, recall, class]`, averaged over all classes that are not NaN."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.add_subplot(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    defined = precision[:, :, ~np.isnan(precision[0, 0])]
    if defined.size:
        recall = np.linspace(0, 1, precision.shape[1])
        for name, curve in curves(defined.mean(axis=2)).items():
            axes.plot(recall, curve, color=COLORS[name], label=f"{name} (area {curve.mean():.3f})")
        axes.legend(loc="best")
    axes.grid(alpha=0.3)
    file = io.BytesIO()
    figure.savefig(file, format="svg")
    return file.getvalue()
