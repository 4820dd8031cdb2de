"""Define `spinenet-tf dataset ...`, commands for data sets of any format."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Literal

import typer

from spinenet_tf.cli.arguments import AsJson, Overwrite
from spinenet_tf.cli.terminal import console, with_passing_progress, with_progress
from spinenet_tf.data.dataset import MAX_PIXELS, PILLOW_MAX_PIXELS

IMAGES_PER_SHARD = 1000

Source = Annotated[
    str,
    typer.Argument(
        help="A COCO file, a folder with annotations.json and images, TFRecord files (file, folder, pattern, or the "
        "part before -00000-of-00010), YOLO's data.yaml, obj.data or folder, a Pascal VOC folder, tfds:NAME, or a "
        "folder of class folders."
    ),
]
Images = Annotated[Path | None, typer.Option(help="Image folder of a COCO file; default: images/ beside it.")]
Split = Annotated[str | None, typer.Option(help="The split to read, for YOLO, Pascal VOC, TFDS and class folders.")]


def check(
    source: Source,
    images: Images = None,
    split: Split = None,
    model: Annotated[str, typer.Option(help="The model whose anchors are compared with the boxes.")] = "spinenet_49",
    image_size: Annotated[tuple[int, int] | None, typer.Option(help="Height and width; default: published.")] = None,
    headers: Annotated[bool, typer.Option("--headers", help="Read only image headers, which is much faster.")] = False,
    max_pixels: Annotated[
        int, typer.Option(help="Report images with more pixels.", min=1, max=PILLOW_MAX_PIXELS)
    ] = MAX_PIXELS,
    as_json: AsJson = False,
) -> None:
    """Print statistics, and every problem with its file and id.

    Exit code: 0 if there are no problems, 1 if there are, 2 if the data set cannot be read.

    Example: spinenet-tf dataset check annotations/val.json --images val
    """
    from spinenet_tf.cli.tables import statistics_table
    from spinenet_tf.data.checking import check as carry_out

    findings = carry_out(
        source,
        images,
        split,
        model=model,
        image_size=image_size,
        decode=not headers,
        max_pixels=max_pixels,
        track=with_passing_progress,
    )
    if as_json:
        print(json.dumps(findings.to_dict(), indent=2))
    else:
        console.print(statistics_table(findings))
        for problem in findings.problems:
            console.print(str(problem), soft_wrap=True, markup=False)
        console.print(findings.summary())
    raise typer.Exit(1 if findings.problems else 0)


def convert(
    source: Source,
    target: Annotated[Path, typer.Argument(help="The new folder to write.")],
    to: Annotated[
        Literal["coco", "tfrecord", "yolo"] | None,
        typer.Option(help="Target format; default: tfrecord, or coco if the source is TFRecord."),
    ] = None,
    masks: Annotated[
        bool, typer.Option("--masks", help="TFRecord: also write masks as PNG, which TF Model Garden needs.")
    ] = False,
    shards: Annotated[
        int | None, typer.Option(help=f"Number of TFRecord files; default: one per {IMAGES_PER_SHARD} images.", min=1)
    ] = None,
    images: Images = None,
    split: Split = None,
) -> None:
    """Convert a detection data set to sharded TFRecord files in TF Model Garden's schema, to COCO or to YOLO.

    Conversion from COCO to TFRecord and back is lossless. YOLO keeps boxes and masks, but no ids, areas and crowds.

    Example: spinenet-tf dataset convert annotations/val.json records/val --images val --shards 10
    """
    from spinenet_tf.data.formats.coco import write_coco
    from spinenet_tf.data.formats.tfrecord_writer import write_tfrecord
    from spinenet_tf.data.formats.yolo_writer import write_yolo
    from spinenet_tf.data.reading import format_of, load

    if target.exists():
        raise FileExistsError(f"{target} exists; delete it or choose another folder.")
    read = load(source, images, split)
    if to == "coco" or (to is None and format_of(source) == "tfrecord"):
        write_coco(read, target, with_progress)
    elif to == "yolo":
        write_yolo(read, target, with_progress)
    else:
        count = shards or max(1, math.ceil(len(read.images) / IMAGES_PER_SHARD))
        write_tfrecord(read, target, count, with_progress, masks)
    console.print(f"Wrote {len(read.images)} images and {len(read.annotations)} objects to {target}.", soft_wrap=True)


def show(
    source: Source,
    output: Annotated[Path, typer.Argument(help="The PNG file to write.")],
    images: Images = None,
    split: Split = None,
    count: Annotated[int, typer.Option(help="Number of images.", min=1)] = 12,
    columns: Annotated[int, typer.Option(help="Images per row.", min=1)] = 4,
    seed: Annotated[int, typer.Option(help="Seed of the random choice of images.", min=0)] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Draw a random sample of the images, with their boxes, on one sheet.

    Example: spinenet-tf dataset show annotations/val.json sheet.png --images val
    """
    import numpy as np

    from spinenet_tf.data.reading import read
    from spinenet_tf.drawing.boxes import save_png

    if output.exists() and not overwrite:
        raise ValueError(f"{output} exists. Pass --overwrite to replace it.")
    save_png(output, np.asarray(read(source, images, split).sheet(count, columns, seed)))
    console.print(f"Wrote {output}.", soft_wrap=True)
