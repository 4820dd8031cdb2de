"""Draw the training curves of a run and its detections beside the ground truth, for the docs.

python docs/draw_run.py runs/digits docs/images
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from spinenet_tf.data.images import read_image
from spinenet_tf.drawing.boxes import contact_sheet, draw_detections
from spinenet_tf.inference.loading import load
from spinenet_tf.training.run import Run

SCENES = 8


def draw_curve(run: Run, path: Path) -> None:
    """Plot losses and AP over the steps."""
    rows = run.log
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    losses, accuracy = figure.subplots(1, 2)
    for name in ("class_loss", "box_loss"):
        losses.plot([row["step"] for row in rows], [row[name] for row in rows], marker="o", label=name)
    measured = [row for row in rows if "val_AP" in row]
    for name in ("val_AP50", "val_AP"):
        accuracy.plot([row["step"] for row in measured], [row[name] for row in measured], marker="o", label=name)
    for axes, title in ((losses, "training losses"), (accuracy, "validation scenes")):
        axes.set(title=title, xlabel="step", ylim=(0, None))
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=100)


def draw_detections_beside_truth(run: Run, path: Path) -> None:
    """Draw validation scenes in pairs: the ground truth, then the detections of the run's model."""
    predictor, dataset = load(run.folder), run.config.own_data().val.read("val")
    pictures = []
    for example in dataset.examples[:SCENES]:
        image, names = read_image(example.path), dataset.class_names
        pictures.append(draw_detections(image, example.boxes, example.classes, class_names=names))
        pictures.append(np.asarray(predictor(image).draw()))
    sheet = Image.fromarray(contact_sheet(pictures, columns=4))
    sheet.thumbnail((1200, 1200))
    sheet.save(path, quality=80)


if __name__ == "__main__":
    run, folder = Run(sys.argv[1]), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    draw_curve(run, folder / f"{run.folder.name}-curve.png")
    draw_detections_beside_truth(run, folder / f"{run.folder.name}-detections.jpg")
