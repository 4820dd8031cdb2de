"""Define `spinenet-tf train`, which trains a model from a config."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from spinenet_tf.cli.arguments import Classes, Overwrite, split_classes
from spinenet_tf.cli.interruption import interruptible
from spinenet_tf.cli.terminal import console


def train(
    config: Annotated[str, typer.Argument(help="A YAML file, or the name of a built-in config.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Config values to change: key.subkey=value ...")] = None,
    run: Annotated[Path | None, typer.Option(help="The run's folder; default: runs/NAME.")] = None,
    classes: Classes = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume exactly after the last saved step.")] = False,
    overwrite: Overwrite = False,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Only test the config: two steps, small net, synthetic images.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print the resolved config, steps, parameters and data.")
    ] = False,
) -> None:
    """Train a detector or a classifier from a config.

    Example: spinenet-tf train digits epochs=2 --run runs/short
    """
    names = split_classes(classes)
    listed = [] if names is None else [f"class_names={json.dumps(names, ensure_ascii=False)}"]
    options = {"overrides": [*(overrides or []), *listed], "resume": resume, "overwrite": overwrite}
    with _shrunk(config, run, options) if smoke else _as_given(config, run, options) as arguments:
        _show(arguments) if dry_run else _train(arguments)


def _train(arguments: dict[str, Any]) -> None:
    from spinenet_tf._fast.pools import share_one_pool
    from spinenet_tf.training import recipe

    share_one_pool()
    with interruptible():
        folder = recipe.train(**arguments).folder
    console.print(f"Saved the run in {folder}. Next: spinenet-tf evaluate {folder}", soft_wrap=True)


def _show(arguments: dict[str, Any]) -> None:
    from spinenet_tf.cli.tables import plan_table, statistics_table
    from spinenet_tf.training.plan import plan

    with console.status("Reading the data and building the model"):
        found = plan(**arguments)
    console.print(found.config.to_yaml(), soft_wrap=True, markup=False)
    console.print(plan_table(found))
    for findings in found.data.values():
        console.print(statistics_table(findings))


@contextmanager
def _as_given(config: str, run: Path | None, options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield {"config": config, "run": run, **options}


@contextmanager
def _shrunk(config: str, run: Path | None, options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the arguments for a training that takes seconds, with images in a temporary folder."""
    from spinenet_tf.training.config_file import resolve
    from spinenet_tf.training.recipe import default_folder
    from spinenet_tf.training.smoke import smoke

    resolved = resolve(config, options["overrides"])
    with TemporaryDirectory() as folder:
        small = smoke(resolved, Path(folder))
        yield {"config": small, "run": run or default_folder(config), **options, "overrides": ()}
