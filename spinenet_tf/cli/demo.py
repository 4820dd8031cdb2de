"""Define `spinenet-tf demo`, which trains, evaluates and exports on built-in data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spinenet_tf.cli.arguments import Overwrite
from spinenet_tf.cli.terminal import console


def demo(
    run: Annotated[Path, typer.Option(help="The run's folder; images go to data/ beside it.")] = Path("runs/demo"),
    overwrite: Overwrite = False,
) -> None:
    """Train on built-in images of digits, evaluate, export, and run the TFLite file, in a few minutes.

    Example: spinenet-tf demo
    """
    from spinenet_tf.cli.demonstration import run_demo
    from spinenet_tf.cli.tables import demo_table

    console.print(demo_table(run_demo(run, overwrite=overwrite, announce=console.rule)))
