"""Define `spinenet-tf evaluate`, which measures a trained model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spinenet_tf._files.writing import write_whole
from spinenet_tf.cli.arguments import Classes, Images, JsonFile, ModelPath, Overwrite, check_parent, split_classes
from spinenet_tf.cli.terminal import console, with_progress

if TYPE_CHECKING:
    from spinenet_tf.tasks import Task


def evaluate(
    model: ModelPath,
    annotations: Annotated[Path | None, typer.Option(help="COCO JSON; default: the run's validation data.")] = None,
    images: Images = None,
    output: JsonFile = None,
    detections: Annotated[
        Path | None, typer.Option(help="Also write the detections to this JSON file, in COCO's results format.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Also write an HTML report to this folder.")] = None,
    classes: Classes = None,
    max_detections: Annotated[
        int | None, typer.Option(help="Detections counted per image; default: 100, as in COCO.", min=11)
    ] = None,
    threshold: Annotated[float, typer.Option(help="Lowest score of detections in the report.", min=0.0, max=1.0)] = 0.3,
    overwrite: Overwrite = False,
) -> None:
    """Print a detector's 12 COCO metrics, of boxes and of masks, and AP per class, or a classifier's accuracy.

    Example: spinenet-tf evaluate runs/digits --report digits-report
    """
    check_parent(output)
    from spinenet_tf.cli.tables import measured_table
    from spinenet_tf.evaluation.metrics import Evaluation
    from spinenet_tf.inference import measurement
    from spinenet_tf.inference.loading import read_task
    from spinenet_tf.tasks import TASKS

    task = TASKS[read_task(model)]
    _check_outputs(task, report, detections, overwrite)
    data, chosen = task.given_data(annotations, images), split_classes(classes)
    found = measurement.evaluate(model, data, classes=chosen, max_detections=max_detections, verbose=with_progress)
    console.print(measured_table(found))
    if output:
        write_whole(output, json.dumps(found.to_dict(), indent=2))
    if not isinstance(found, Evaluation):
        return
    if detections:
        found.save_detections(detections, overwrite=overwrite)
        console.print(f"Wrote the detections to {detections}.", soft_wrap=True)
    if report:
        page = found.report(report, threshold=threshold, overwrite=overwrite)
        console.print(f"Wrote the report to {page}.", soft_wrap=True)


def _check_outputs(task: Task, report: Path | None, detections: Path | None, overwrite: bool) -> None:
    """Check, before the evaluation, that the report and the detections can be written."""
    from spinenet_tf.evaluation.report import check_report_folder

    for name, path in (("report", report), ("detections", detections)):
        if path and not task.has_boxes:
            raise ValueError(f"Only a detector has this output. Received: --{name} with a classifier")
    if report:
        check_report_folder(report, overwrite)
    check_parent(detections)
    if detections and detections.exists() and not overwrite:
        raise FileExistsError(f"{detections} exists. Pass --overwrite to replace it.")
