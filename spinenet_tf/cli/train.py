"""Define `spinenet-tf train`, which trains a model from a config."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from spinenet_tf.cli.arguments import Classes, Overwrite, split_classes
from spinenet_tf.cli.interruption import INTERRUPTED, second_leaves_at_once
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
) -> None:
    """Train a detector or a classifier from a config.

    Example: spinenet-tf train digits epochs=2 --run runs/short
    """
    from spinenet_tf._fast.pools import share_one_pool
    from spinenet_tf.training import recipe
    from spinenet_tf.training.config_file import find_config, read_config
    from spinenet_tf.training.smoke import smoke as shrunk

    share_one_pool()
    path = find_config(config)
    folder = run or Path("runs") / path.stem
    names = split_classes(classes)
    listed = [] if names is None else [f"class_names={json.dumps(names, ensure_ascii=False)}"]
    resolved = read_config(path, [*(overrides or []), *listed])
    options = {"resume": resume, "overwrite": overwrite}
    with _interruptible():
        if smoke:
            with TemporaryDirectory() as made_up:
                recipe.train(shrunk(resolved, Path(made_up)), folder, **options)
        else:
            recipe.train(resolved, folder, **options)
    console.print(f"Saved the run in {folder}. Next: spinenet-tf evaluate {folder}", soft_wrap=True)


@contextmanager
def _interruptible() -> Iterator[None]:
    """On Ctrl-C, print how to resume training, and exit with 130."""
    try:
        with second_leaves_at_once():
            yield
    except KeyboardInterrupt as stop:
        console.print(str(stop) or "Interrupted. The run's saved files are kept.", soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None
