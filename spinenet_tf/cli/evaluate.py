"""Define `spinenet-tf evaluate`, which measures a trained model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from spinenet_tf._files.writing import write_whole
from spinenet_tf.cli.arguments import Classes, Images, JsonFile, ModelPath, Overwrite, check_parent, split_classes
from spinenet_tf.cli.terminal import console, with_progress


def evaluate(
    model: ModelPath,
    annotations: Annotated[Path | None, typer.Option(help="COCO JSON; default: the run's validation data.")] = None,
    images: Images = None,
    output: JsonFile = None,
    report: Annotated[Path | None, typer.Option(help="Also write an HTML report to this folder.")] = None,
    classes: Classes = None,
    max_detections: Annotated[
        int | None, typer.Option(help="Detections counted per image; default: 100, as in COCO.", min=11)
    ] = None,
    threshold: Annotated[float, typer.Option(help="Lowest score of detections in the report.", min=0.0, max=1.0)] = 0.3,
    overwrite: Overwrite = False,
) -> None:
    """Print a detector's 12 COCO metrics and AP per class, or a classifier's top-1 and top-5 accuracy.

    Example: spinenet-tf evaluate runs/digits --report digits-report
    """
    check_parent(output)
    from spinenet_tf.cli.tables import measured_table
    from spinenet_tf.inference.loading import load, read_task, read_validation
    from spinenet_tf.tasks import TASKS

    task = TASKS[read_task(model)]
    if report:
        task.check_report(report, overwrite)
    loaded = load(model, max_detections)
    given = task.given_data(annotations, images)
    dataset = read_validation(model) if given is None else given
    outcome = task.evaluate(loaded, dataset, max_detections, split_classes(classes), with_progress)
    console.print(measured_table(outcome.numbers))
    if output:
        write_whole(output, json.dumps(outcome.numbers.to_dict(), indent=2))
    if report:
        page = outcome.write_report(report, model=str(model), threshold=threshold, overwrite=overwrite)
        console.print(f"Wrote the report to {page}.", soft_wrap=True)
