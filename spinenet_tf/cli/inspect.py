"""Define `spinenet-tf inspect`, which shows what a TFLite file requires of an engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from spinenet_tf.cli.arguments import AsJson
from spinenet_tf.cli.terminal import console


def inspect(
    model: Annotated[Path, typer.Argument(help="A .tflite file of any origin.")],
    as_json: AsJson = False,
) -> None:
    """Show what a TFLite file requires of an engine: operations, tensor ranks, delegate partitions, memory.

    Example: spinenet-tf inspect runs/digits/model-int8.tflite
    """
    from spinenet_tf.inference.inspection import inspect as look_into

    found = look_into(model)
    if as_json:
        print(json.dumps(found.to_dict(), indent=2))
        return
    from spinenet_tf.cli.tables import inspection_table

    console.print(inspection_table(found))
