"""Define `spinenet-tf list` and `spinenet-tf summary`, which show all models and their costs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from spinenet_tf.cli.arguments import AsJson, Overwrite, check_parent
from spinenet_tf.cli.terminal import console, show_whole
from spinenet_tf.nets import family
from spinenet_tf.nets.specs import ArchitectureSpec


def list_models(kind: Annotated[str | None, typer.Argument(help="Only this kind, such as mobile.")] = None) -> None:
    """List the names of all models.

    Example: spinenet-tf list mobile
    """
    for name in family.list_models(kind):
        console.print(name, highlight=False)


def summary(
    models: Annotated[
        list[str] | None, typer.Argument(help="Only these models: names, or YAML files of custom graphs.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Also draw the graphs of the models here, as .svg, .png or .pdf.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Show parameters and multiply-adds of every model, with the published figures.

    Example: spinenet-tf summary spinenet_49 --plot spinenet_49.svg
    """
    from spinenet_tf.cli.family_costs import summarize
    from spinenet_tf.nets.graph_drawing import plot_architecture

    nets = [_net(model) for model in models or family.list_models()]
    if plot and not models:
        raise ValueError("--plot draws the models that you name: spinenet-tf summary MODEL --plot FILE.")
    if plot:
        check_parent(plot)
        plot_architecture(nets, plot, overwrite=overwrite)
    with console.status("Building the models"):
        rows = summarize(nets)
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    from spinenet_tf.cli.tables import summary_table

    show_whole(summary_table(rows))
    if plot:
        console.print(f"Wrote {plot}.", soft_wrap=True)


def _net(model: str) -> str | ArchitectureSpec:
    """Return the name of a model, or the graph in a YAML file."""
    return ArchitectureSpec.load(model) if model.endswith((".yaml", ".yml")) else model
