"""Define `spinenet-tf export`, which converts a trained model for deployment."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from spinenet_tf._files.writing import write_whole
from spinenet_tf.cli.arguments import Images, Overwrite, check_parent
from spinenet_tf.cli.terminal import console, show_whole, with_progress

if TYPE_CHECKING:
    from spinenet_tf.export.check.verify import Artifact

Quantization = Literal["none", "fp16", "dynamic", "int8", "int16x8"]
Target = Literal["cpu", "gpu", "npu", "mediapipe"]
Inputs = Literal["float32", "uint8"]
Outputs = Literal["raw", "decoded", "detections", "postprocess", "probabilities"]
Format = Literal["tflite", "saved_model", "onnx", "web"]


def export(
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    format: Annotated[Format, typer.Option(help="File format.")] = "tflite",
    quantization: Annotated[Quantization, typer.Option(help="TFLite and web: quantization.")] = "none",
    target: Annotated[Target | None, typer.Option(help="TFLite: target hardware; default: cpu.")] = None,
    inputs: Annotated[
        Inputs | None, typer.Option(help="TFLite: normalized float32 or uint8 pixels; default: by target.")
    ] = None,
    outputs: Annotated[Outputs | None, typer.Option(help="TFLite: output kind; default: by target.")] = None,
    output: Annotated[Path | None, typer.Option(help="Where to write; default: in the run's folder.")] = None,
    annotations: Annotated[
        Path | None, typer.Option(help="COCO JSON for calibration and checks; default: the run's data.")
    ] = None,
    images: Images = None,
    keep_float: Annotated[
        list[str] | None, typer.Option(help="int8: layers to keep in float, such as 'box_*'; may be repeated.")
    ] = None,
    debug: Annotated[
        bool, typer.Option("--debug", help="int8: show which layers lose accuracy, without writing a model.")
    ] = False,
    numbers: Annotated[Path | None, typer.Option("--json", help="With --debug: also write the numbers here.")] = None,
    nms: Annotated[bool | None, typer.Option(help="SavedModel: output detections, or all candidate boxes.")] = None,
    variables: Annotated[
        bool | None, typer.Option(help="SavedModel: keep weights as variables: much less memory, slightly slower.")
    ] = None,
    batch: Annotated[
        str | None,
        typer.Option(help="Number of images per call, or 'dynamic' for any; default: 1, SavedModel: dynamic."),
    ] = None,
    card: Annotated[
        bool, typer.Option("--card", help="Also measure accuracy and write a model card, README.md, next to the file.")
    ] = False,
    license: Annotated[str | None, typer.Option(help="With --card: the model's license, such as apache-2.0.")] = None,
    latencies: Annotated[
        Path | None, typer.Option("--benchmark", help="With --card: latencies from a file of `benchmark --json`.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Export a run's best weights, and compare the exported model with Keras.

    Example: spinenet-tf export runs/digits --format tflite --quantization int8
    """
    from spinenet_tf.export.from_run import export_run
    from spinenet_tf.inference.loading import read_task
    from spinenet_tf.tasks import TASKS

    check_parent(numbers)
    folder = output.parent if output else run
    _check_card(card, folder, license, latencies, debug, format, overwrite)
    options: dict[str, Any] = {"target": target, "inputs": inputs, "outputs": outputs}
    options |= {"nms": nms, "variables": variables, "keep_float": keep_float or None}
    options["batch"] = _batch(batch)
    data = TASKS[read_task(run)].given_data(annotations, images)
    if debug:
        _debug(run, format, quantization, data, options, numbers)
        return
    if numbers:
        raise ValueError("--json requires --debug.")
    with console.status(f"Exporting {run}"):
        artifact = export_run(run, format, quantization, output, overwrite, data, **options)
    console.print(f"Wrote {artifact.path}, {artifact.size / 1e6:.2f} MB.", soft_wrap=True)
    largest = artifact.difference["max"]
    console.print(f"Largest difference from Keras: {largest:.2g} of the largest output.", soft_wrap=True)
    for line in _accuracy(artifact):
        console.print(line, soft_wrap=True)
    if format == "web":
        console.print(
            f"Show it at http://localhost:8000: python -m http.server --directory {artifact.path}", soft_wrap=True
        )
    if card:
        files = [artifact.path] if output else None
        _write_card(run, license, files=files, data=data, benchmark=latencies, artifact=artifact, overwrite=overwrite)


def _accuracy(artifact: Artifact) -> Iterator[str]:
    """Yield lines that say how accurate a file is, if it was measured."""
    for measure, found in (("AP", artifact.ap), ("Top-1", artifact.top1)):
        if found:
            yield f"{measure} {found['keras']:.3f} in Keras, {found['exported']:.3f} exported."
            if "stretched" in found:
                how = "with images resized as MediaPipe does it, without keeping their aspect ratio"
                yield f"{measure} {found['stretched']:.3f} {how}; `predict` and `evaluate` do the same with this file."


def _batch(text: str | None) -> int | str | None:
    """Return the option `--batch` as `export_run` takes it."""
    if text is None or text == "dynamic":
        return text
    if not (text.isascii() and text.isdigit() and int(text)):
        raise ValueError(f"--batch must be a number of images, or 'dynamic'. Received: --batch {text}")
    return int(text)


def _check_card(
    card: bool, folder: Path, license: str | None, latencies: Path | None, debug: bool, format: str, overwrite: bool
) -> None:
    """Check, before the export, that a card can be written."""
    from spinenet_tf.export.card.page import UNKNOWN, check_card

    if not card and (license or latencies):
        raise ValueError("--license and --benchmark require --card.")
    if card and (debug or format == "web"):
        raise ValueError("--card requires a tflite, saved_model or onnx file, so neither --debug nor --format web.")
    if card:
        check_card(folder, license or UNKNOWN, overwrite=overwrite)


def _write_card(run: Path, license: str | None, **options: Any) -> None:
    from spinenet_tf.export.card.page import UNKNOWN, model_card

    with console.status(f"Measuring {run}"):
        path = model_card(run, license or UNKNOWN, **options)
    console.print(f"Wrote {path}.", soft_wrap=True)
    if license is None:
        console.print("The card says that the license is unknown: pass --license.", soft_wrap=True)


def _debug(run: Path, format: str, quantization: str, data: Any, options: dict[str, Any], numbers: Path | None) -> None:
    """Show how much accuracy int8 costs in each part and layer of a run."""
    from spinenet_tf.cli.tables import sensitivity_tables
    from spinenet_tf.export.from_run import debug_run

    if (format, quantization) != ("tflite", "int8"):
        raise ValueError(f"--debug requires --format tflite --quantization int8. Received: {format}, {quantization}")
    unused = [name for name, value in options.items() if value is not None and name not in ("target", "keep_float")]
    if unused:
        raise ValueError(f"--debug measures the raw outputs of one image: leave out --{', --'.join(unused)}.")
    found = debug_run(run, data, options["keep_float"] or (), options["target"], track=with_progress)
    for table in sensitivity_tables(found):
        show_whole(table)
    if numbers:
        write_whole(numbers, json.dumps(found.to_dict(), indent=2))
