"""Define `spinenet-tf predict`, which runs a trained model on images and videos."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from spinenet_tf.cli.arguments import MODELS, Overwrite
from spinenet_tf.cli.terminal import console, with_speed

if TYPE_CHECKING:
    from spinenet_tf.inference.predicting import Summary

STDIN = "-"


def predict(
    sources: Annotated[
        list[str],
        typer.Argument(help="Images, videos, folders of any depth, patterns, or - for a list of paths on stdin."),
    ],
    model: Annotated[Path, typer.Option(help=MODELS)],
    output: Annotated[Path, typer.Option(help="The folder to write the results to.")] = Path("predictions"),
    draw: Annotated[bool, typer.Option("--draw", help="Also write a picture for each image.")] = False,
    threshold: Annotated[float, typer.Option(help="Lowest score to draw.", min=0.0, max=1.0)] = 0.3,
    format: Annotated[
        Literal["json", "coco"], typer.Option(help="json: a JSON line per image; coco: COCO results, for pycocotools.")
    ] = "json",
    annotations: Annotated[
        Path | None, typer.Option(help="coco: the COCO JSON with the ids of the images and classes, found by name.")
    ] = None,
    frame_step: Annotated[int, typer.Option(help="Run every n-th frame of a video.", min=1)] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Continue in an existing folder.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Detect objects in images and videos, or classify images; write the results as they come.

    Images that cannot be read are named and left out; the exit code is then 1.

    Example: spinenet-tf predict photos --model runs/digits --draw
    """
    if (format == "coco") != (annotations is not None):
        raise ValueError("Pass --format coco and --annotations together.")
    if resume and overwrite:
        raise ValueError("Pass only one of --resume and --overwrite.")
    from spinenet_tf._files.messages import some_of
    from spinenet_tf.inference.many_images import load_workers
    from spinenet_tf.inference.predicting import predict_sources
    from spinenet_tf.inference.sources import find_sources

    found = find_sources(_paths(sources))
    if found.skipped:
        console.print(f"Skipped, since they are not images: {some_of(found.skipped)}.", soft_wrap=True, markup=False)
    if output.exists() and not (resume or overwrite):
        raise ValueError(f"{output} exists. Pass --resume to continue it, or --overwrite to write into it.")
    summary = predict_sources(
        load_workers(model),
        found,
        output,
        model=str(model.resolve()),
        threshold=threshold if draw else None,
        annotations=annotations,
        frame_step=frame_step,
        resume=resume,
        overwrite=overwrite,
        track=with_speed,
    )
    _report(summary, annotations)
    if summary.bad:
        raise typer.Exit(1)


def _paths(sources: list[str]) -> list[str]:
    """Return the sources, with the lines of standard input in place of `-`."""
    if STDIN not in sources:
        return sources
    lines = [line.rstrip("\r\n") for line in sys.stdin]
    return [path for source in sources for path in (filter(None, lines) if source == STDIN else [source])]


def _report(summary: Summary, annotations: Path | None) -> None:
    from spinenet_tf._files.messages import some_of

    speed = f" ({summary.images / summary.seconds:.1f} images/s)" if summary.images else ""
    lines = [f"Wrote the results of {summary.images:,} images to {summary.path}{speed}."]
    if summary.left_out:
        counts = some_of(f"{name} ({count})" for name, count in summary.left_out.items())
        lines.append(f"Left out the detections of classes that {annotations} does not have: {counts}.")
    if summary.bad:
        lines.append(f"Left out {len(summary.bad):,} images that cannot be read, see bad_images.jsonl:")
        lines.append(some_of(summary.bad.values(), separator="\n"))
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False, markup=False)
