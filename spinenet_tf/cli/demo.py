"""`spinenet-tf demo`: everything once, on the embedded data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spinenet_tf.cli.arguments import Overwrite
from spinenet_tf.cli.terminal import console


def demo(
    run: Annotated[Path, typer.Option(help="The run's folder; the scenes go to data beside it.")] = Path("runs/demo"),
    overwrite: Overwrite = False,
) -> None:
    """Train on the embedded digits, evaluate, export, run the TFLite file, and draw the result, in a few minutes.

    Example: spinenet-tf demo
    """
    from spinenet_tf.cli.demonstration import run_demo
    from spinenet_tf.cli.tables import demo_table

    console.print(demo_table(run_demo(run, overwrite=overwrite, announce=console.rule)))
