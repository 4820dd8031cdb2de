"""Define `spinenet-tf inspect`, which shows what a TFLite file costs, and what it requires of an engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from spinenet_tf.cli.arguments import AsJson
from spinenet_tf.cli.terminal import show_whole


def inspect(
    model: Annotated[Path, typer.Argument(help="A .tflite file of any origin.")],
    as_json: AsJson = False,
) -> None:
    """Show what a TFLite file costs and requires: multiply-adds, memory, and which operations each engine supports.

    Example: spinenet-tf inspect runs/digits/model-int8.tflite
    """
    from spinenet_tf.inference.inspection import inspect as look_into

    found = look_into(model)
    if as_json:
        print(json.dumps(found.to_dict(), indent=2))
        return
    from spinenet_tf.cli.inspection_tables import costs_table, requirements_table

    show_whole(costs_table(found))
    show_whole(requirements_table(found))
