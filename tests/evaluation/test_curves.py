"""Test the drawn curves, and that drawing needs neither a display nor pyplot."""

from __future__ import annotations

import os
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest

from spinenet_tf.evaluation.curves import COLORS, curves, draw_curves

SVG = "{http://www.w3.org/2000/svg}"


def test_the_curves_are_those_of_iou_50_and_75_and_of_all() -> None:
    precision = np.linspace(0.5, 0.95, 10)[:, None] * np.ones((10, 101))
    shown = {name: curve.mean() for name, curve in curves(precision).items()}
    assert shown == pytest.approx({"IoU 0.50": 0.5, "IoU 0.75": 0.75, "mean of IoU 0.50 to 0.95": 0.725})


def strokes(svg: bytes) -> str:
    """Return the styles of the curves: all paths that are clipped to the axes, except grid lines."""
    root = ElementTree.fromstring(svg)
    return " ".join(path.get("style", "") for path in root.iter(f"{SVG}path") if path.get("clip-path"))


def test_an_undefined_class_does_not_spoil_the_mean() -> None:
    precision = np.stack([np.full((10, 101), 0.6), np.full((10, 101), np.nan)], axis=2)
    drawn = strokes(draw_curves(precision))
    assert all(color in drawn for color in COLORS.values())


def test_without_a_defined_class_the_axes_are_empty() -> None:
    drawn = strokes(draw_curves(np.full((10, 101, 2), np.nan)))
    assert not any(color in drawn for color in COLORS.values())


def test_drawing_needs_no_display_and_leaves_pyplot_alone() -> None:
    program = (
        "import sys, numpy as np\n"
        "sys.argv = ['spinenet-tf']\n"  # spares the import of Keras, which imports pyplot for itself
        "from spinenet_tf.evaluation.curves import draw_curves\n"
        "assert b'<svg' in draw_curves(np.ones((10, 101, 1)))\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    hidden = ("DISPLAY", "WAYLAND_DISPLAY")
    env = {name: value for name, value in os.environ.items() if name not in hidden} | {"MPLBACKEND": "tkagg"}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
