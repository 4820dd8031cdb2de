"""Define `spinenet-tf benchmark`, which compares a detector's formats and engines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from spinenet_tf._files.writing import write_whole
from spinenet_tf.cli.arguments import Images, JsonFile, check_parent
from spinenet_tf.cli.terminal import show_whole, with_progress


def benchmark(
    models: Annotated[
        list[Path], typer.Argument(help="Folders of runs or SavedModels, .tflite, .onnx and .xml files.")
    ],
    quantization: Annotated[list[str] | None, typer.Option(help="Export runs with this one; may be repeated.")] = None,
    threads: Annotated[int | None, typer.Option(help="Maximum number of threads; default: all cores.", min=1)] = None,
    repeats: Annotated[int, typer.Option(help="Number of calls per model.", min=1)] = 50,
    raw: Annotated[bool, typer.Option("--raw", help="Skip decoding and NMS.")] = False,
    memory: Annotated[bool, typer.Option(help="Also measure memory, in a separate process per model.")] = True,
    ap: Annotated[bool, typer.Option("--ap", help="Also measure AP, by default on a run's validation data.")] = False,
    annotations: Annotated[Path | None, typer.Option(help="COCO JSON to measure AP on.")] = None,
    images: Images = None,
    output: JsonFile = None,
    plot: Annotated[Path | None, typer.Option(help="Plot AP against latency to this PNG; requires --ap.")] = None,
) -> None:
    """Compare latency, memory, file size and AP of a detector in all formats and engines.

    Example: spinenet-tf benchmark runs/digits --ap --plot tradeoff.png
    """
    for file in (output, plot):
        check_parent(file)
    if plot and (not ap or plot.suffix != ".png"):
        raise ValueError(f"--plot requires --ap and a file name that ends in .png. Received: {plot}")
    if (annotations or images) and not ap:
        raise ValueError("--annotations and --images require --ap.")
    from spinenet_tf.cli.tables import benchmark_table
    from spinenet_tf.export.check.measurement import benchmark as measure
    from spinenet_tf.export.check.tradeoff import draw_tradeoff
    from spinenet_tf.tasks import TASKS

    dataset = TASKS["detection"].given_data(annotations, images)
    options: dict[str, Any] = {"dataset": dataset, "quantizations": quantization or ()}
    found = measure(models, threads, repeats, raw, memory, ap, track=with_progress, **options)
    show_whole(benchmark_table(found))
    if output:
        write_whole(output, json.dumps(found.to_dict(), indent=2))
    if plot:
        write_whole(plot, draw_tradeoff(found.measurements))
