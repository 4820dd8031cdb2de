"""`spinenet-tf export`: a trained model in the form that it is shipped in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from spinenet_tf.cli.options import Images, Overwrite
from spinenet_tf.cli.terminal import console

Quantization = Literal["none", "fp16", "dynamic", "int8", "int16x8"]
Target = Literal["cpu", "gpu", "npu", "mediapipe"]
Inputs = Literal["float32", "uint8"]
Outputs = Literal["raw", "decoded", "detections", "postprocess"]
Format = Literal["tflite", "saved_model", "onnx", "web"]


def export(
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    form: Annotated[Format, typer.Option("--format", help="What to write.")] = "tflite",
    quantization: Annotated[Quantization, typer.Option(help="Of TFLite and web.")] = "none",
    target: Annotated[Target | None, typer.Option(help="The engine that a TFLite file is for; default: cpu.")] = None,
    inputs: Annotated[Inputs | None, typer.Option(help="Of TFLite: normalised, or pixels; default: target's.")] = None,
    outputs: Annotated[Outputs | None, typer.Option(help="Of TFLite; default: the target's.")] = None,
    output: Annotated[Path | None, typer.Option(help="Default: inside the run's folder.")] = None,
    annotations: Annotated[Path | None, typer.Option(help="COCO JSON to calibrate and check by; default: own.")] = None,
    images: Images = None,
    nms: Annotated[bool | None, typer.Option(help="Of SavedModel: detections, or every anchor.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Export a run's best weights, and check the artifact against Keras.

    Example: spinenet-tf export runs/digits --format tflite --quantization int8
    """
    from spinenet_tf.export.run import export_run
    from spinenet_tf.tasks import TASKS

    with console.status(f"Exporting {run}"):
        options: dict[str, Any] = {"target": target, "inputs": inputs, "outputs": outputs, "nms": nms}
        data = TASKS["detection"].given_data(annotations, images)
        report = export_run(run, form, quantization, output, overwrite, data, **options)
    console.print(f"Wrote {report.path}, {report.size / 1e6:.2f} MB.", soft_wrap=True)
    console.print(f"Largest difference to Keras: {report.difference['max']:.2g} of the largest output.", soft_wrap=True)
    if report.ap:
        console.print(f"AP {report.ap['keras']:.3f} in Keras, {report.ap['exported']:.3f} exported.", soft_wrap=True)
