"""Define `spinenet-tf predict`, which runs a trained model on images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spinenet_tf.cli.arguments import Overwrite
from spinenet_tf.cli.terminal import console, with_progress


def predict(
    source: Annotated[Path, typer.Argument(help="An image, or a folder of images.")],
    model: Annotated[Path, typer.Option(help="The folder of a run, or a .tflite file.")],
    output: Annotated[Path, typer.Option(help="The folder to write pictures and JSON to.")] = Path("predictions"),
    threshold: Annotated[float, typer.Option(help="Lowest score to draw.", min=0.0, max=1.0)] = 0.3,
    overwrite: Overwrite = False,
) -> None:
    """Detect objects and write pictures with boxes and a JSON file of all detections; or classify images.

    Example: spinenet-tf predict photo.jpg --model runs/digits
    """
    from spinenet_tf._files.messages import some_of
    from spinenet_tf.inference.loading import load
    from spinenet_tf.inference.predictor import image_files, passed_over

    files = image_files(source)
    if output.exists() and not overwrite:
        raise ValueError(f"{output} exists. Pass --overwrite to write into it.")
    if others := passed_over(source):
        console.print(f"Skipped, since they are not images: {some_of(others)}.", soft_wrap=True, markup=False)
    for line in load(model).predict_files(files, output, threshold, with_progress):
        console.print(line, soft_wrap=True, highlight=False, markup=False)
