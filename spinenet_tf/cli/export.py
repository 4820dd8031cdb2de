"""`spinenet-tf export`: a trained model in the format that it is shipped in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from spinenet_tf._files.writing import write_whole
from spinenet_tf.cli.arguments import Images, Overwrite, check_parent
from spinenet_tf.cli.terminal import console, show_whole, with_progress

Quantization = Literal["none", "fp16", "dynamic", "int8", "int16x8"]
Target = Literal["cpu", "gpu", "npu", "mediapipe"]
Inputs = Literal["float32", "uint8"]
Outputs = Literal["raw", "decoded", "detections", "postprocess"]
Format = Literal["tflite", "saved_model", "onnx", "web"]


def export(
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    format: Annotated[Format, typer.Option(help="What to write.")] = "tflite",
    quantization: Annotated[Quantization, typer.Option(help="Of TFLite and web.")] = "none",
    target: Annotated[Target | None, typer.Option(help="The hardware that a TFLite file is for; default: cpu.")] = None,
    inputs: Annotated[Inputs | None, typer.Option(help="Of TFLite: normalized, or pixels; default: target's.")] = None,
    outputs: Annotated[Outputs | None, typer.Option(help="Of TFLite; default: the target's.")] = None,
    output: Annotated[Path | None, typer.Option(help="Default: inside the run's folder.")] = None,
    annotations: Annotated[Path | None, typer.Option(help="COCO JSON to calibrate and check by; default: own.")] = None,
    images: Images = None,
    keep_float: Annotated[
        list[str] | None, typer.Option(help="Of int8: layers that stay in float, such as 'box_*'; may be repeated.")
    ] = None,
    debug: Annotated[
        bool, typer.Option("--debug", help="Of int8: show where it costs accuracy; write no file.")
    ] = False,
    numbers: Annotated[Path | None, typer.Option("--json", help="With --debug: also write all of it here.")] = None,
    nms: Annotated[bool | None, typer.Option(help="Of SavedModel: detections, or every candidate.")] = None,
    variables: Annotated[bool | None, typer.Option(help="Of SavedModel: far less memory, a bit slower.")] = None,
    dynamic_batch: Annotated[
        bool, typer.Option("--dynamic-batch", help="Of ONNX: take any number of images at once, not one.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Export a run's best weights, and check the artifact against Keras.

    Example: spinenet-tf export runs/digits --format tflite --quantization int8
    """
    from spinenet_tf.export.from_run import export_run
    from spinenet_tf.inference.loading import read_task
    from spinenet_tf.tasks import TASKS

    check_parent(numbers)
    options: dict[str, Any] = {"target": target, "inputs": inputs, "outputs": outputs}
    options |= {"nms": nms, "variables": variables, "keep_float": keep_float or None}
    options["dynamic_batch"] = dynamic_batch or None
    data = TASKS[read_task(run)].given_data(annotations, images)
    if debug:
        _debug(run, format, quantization, data, options, numbers)
        return
    if numbers:
        raise ValueError("--json goes with --debug.")
    with console.status(f"Exporting {run}"):
        artifact = export_run(run, format, quantization, output, overwrite, data, **options)
    console.print(f"Wrote {artifact.path}, {artifact.size / 1e6:.2f} MB.", soft_wrap=True)
    largest = artifact.difference["max"]
    console.print(f"Largest difference to Keras: {largest:.2g} of the largest output.", soft_wrap=True)
    for measure, found in (("AP", artifact.ap), ("Top-1", artifact.top1)):
        if found:
            console.print(f"{measure} {found['keras']:.3f} in Keras, {found['exported']:.3f} exported.", soft_wrap=True)


def _debug(run: Path, format: str, quantization: str, data: Any, options: dict[str, Any], numbers: Path | None) -> None:
    """Show the parts and layers of a run by what int8 costs there."""
    from spinenet_tf.cli.tables import sensitivity_tables
    from spinenet_tf.export.from_run import debug_run

    if (format, quantization) != ("tflite", "int8"):
        raise ValueError(f"--debug is for --format tflite --quantization int8. Received: {format}, {quantization}")
    found = debug_run(run, data, options["keep_float"] or (), options["target"], track=with_progress)
    for table in sensitivity_tables(found):
        show_whole(table)
    if numbers:
        write_whole(numbers, json.dumps(found.to_dict(), indent=2))
