"""`spinenet-tf evaluate`: how good a trained model is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from spinenet_tf._files.writing import write_whole
from spinenet_tf.cli.options import Classes, Images, JsonFile, ModelPath, Overwrite, check_parent, split_classes
from spinenet_tf.cli.terminal import console


def evaluate(
    model: ModelPath,
    annotations: Annotated[Path | None, typer.Option(help="COCO JSON; default: the run's validation data.")] = None,
    images: Images = None,
    output: JsonFile = None,
    report: Annotated[Path | None, typer.Option(help="Also write a page with curves and pictures to a folder.")] = None,
    classes: Classes = None,
    max_detections: Annotated[
        int | None, typer.Option(help="Of an image; COCO's AP counts 100, and so does this by default.", min=11)
    ] = None,
    threshold: Annotated[float, typer.Option(help="Lowest score of what the report shows.", min=0.0, max=1.0)] = 0.3,
    overwrite: Overwrite = False,
) -> None:
    """Print COCO's twelve numbers and the AP of each class; of a classifier how often it is right.

    Example: spinenet-tf evaluate runs/digits --report digits-report
    """
    check_parent(output)
    from spinenet_tf.cli.tables import measured_table
    from spinenet_tf.tasks.task import task_of

    task = task_of(model)
    if report:
        task.check_report(report, overwrite)
    loaded = task.load(model, max_detections)
    dataset = task.data(model, annotations, images)
    outcome = task.evaluate(loaded, dataset, console, max_detections, split_classes(classes))
    console.print(measured_table(outcome.numbers))
    if output:
        write_whole(output, json.dumps(outcome.numbers.to_dict(), indent=2))
    if report:
        page = outcome.write_report(report, model=str(model), threshold=threshold, overwrite=overwrite)
        console.print(f"The report is {page}.", soft_wrap=True)
