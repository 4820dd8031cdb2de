"""Define `spinenet-tf list` and `spinenet-tf summary`, which show all models and their costs."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from spinenet_tf.cli.arguments import AsJson
from spinenet_tf.cli.terminal import console, show_whole
from spinenet_tf.nets import family


def list_models(kind: Annotated[str | None, typer.Argument(help="Only this kind, such as mobile.")] = None) -> None:
    """List the names of all models.

    Example: spinenet-tf list mobile
    """
    for name in family.list_models(kind):
        console.print(name, highlight=False)


def summary(
    names: Annotated[list[str] | None, typer.Argument(help="Only these models.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show parameters and multiply-adds of every model, with the published figures.

    Example: spinenet-tf summary spinenet_49 spinenet_mobile_49
    """
    from spinenet_tf.cli.family_costs import summarize

    names = names or family.list_models()
    with console.status("Building the models"):
        rows = summarize(names)
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    from spinenet_tf.cli.tables import summary_table

    show_whole(summary_table(rows))
