"""`spinenet-tf predict`: what a trained model sees in images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spinenet_tf.cli.arguments import Overwrite
from spinenet_tf.cli.terminal import console, with_progress


def predict(
    source: Annotated[Path, typer.Argument(help="An image, or a folder of images.")],
    model: Annotated[Path, typer.Option(help="The folder of a run, or a .tflite file.")],
    output: Annotated[Path, typer.Option(help="Where pictures and detections.json go.")] = Path("predictions"),
    threshold: Annotated[float, typer.Option(help="Lowest score that is drawn.", min=0.0, max=1.0)] = 0.3,
    overwrite: Overwrite = False,
) -> None:
    """Detect objects: write a picture with boxes for each image, and all detections as JSON; or classify images.

    Example: spinenet-tf predict photo.jpg --model runs/digits
    """
    from spinenet_tf._files.messages import some_of
    from spinenet_tf.inference.loading import load
    from spinenet_tf.inference.predictor import image_files, passed_over

    files = image_files(source)
    if output.exists() and not overwrite:
        raise ValueError(f"{output} exists. Pass --overwrite to write into it.")
    if others := passed_over(source):
        console.print(f"Left out, for they are no images: {some_of(others)}.", soft_wrap=True, markup=False)
    for line in load(model).predict_files(files, output, threshold, with_progress):
        console.print(line, soft_wrap=True, highlight=False, markup=False)
