"""Define `spinenet-tf predict`, which runs a trained model on images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from spinenet_tf.cli.arguments import MODELS, Overwrite
from spinenet_tf.cli.terminal import console, with_progress


def predict(
    source: Annotated[Path, typer.Argument(help="An image, or a folder of images.")],
    model: Annotated[Path, typer.Option(help=MODELS)],
    output: Annotated[Path, typer.Option(help="The folder to write pictures and JSON to.")] = Path("predictions"),
    threshold: Annotated[float, typer.Option(help="Lowest score to draw.", min=0.0, max=1.0)] = 0.3,
    format: Annotated[
        Literal["json", "coco"], typer.Option(help="Format of the detections; coco: COCO results, for pycocotools.")
    ] = "json",
    annotations: Annotated[
        Path | None, typer.Option(help="coco: the COCO JSON with the ids of the images and classes, found by name.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Detect objects and write pictures with boxes and masks, and a JSON file of all detections; or classify images.

    Example: spinenet-tf predict photo.jpg --model runs/digits
    """
    if (format == "coco") != (annotations is not None):
        raise ValueError("Pass --format coco and --annotations together.")
    from spinenet_tf._files.messages import some_of
    from spinenet_tf.inference.folders import predict_files
    from spinenet_tf.inference.images import image_files, passed_over
    from spinenet_tf.inference.loading import load

    files = image_files(source)
    if output.exists() and not overwrite:
        raise ValueError(f"{output} exists. Pass --overwrite to write into it.")
    if others := passed_over(source):
        console.print(f"Skipped, since they are not images: {some_of(others)}.", soft_wrap=True, markup=False)
    for line in predict_files(load(model), files, output, threshold, annotations, with_progress):
        console.print(line, soft_wrap=True, highlight=False, markup=False)
