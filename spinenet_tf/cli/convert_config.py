"""Define `spinenet-tf convert-config`, which translates experiments of TF Model Garden to training configs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spinenet_tf.cli.arguments import Overwrite
from spinenet_tf.cli.terminal import console


def convert_config(
    source: Annotated[Path, typer.Argument(help="The params.yaml that TF Model Garden wrote to its model folder.")],
    target: Annotated[Path, typer.Argument(help="The config to write, a YAML file.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Config values to change: key.subkey=value ...")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Translate a TF Model Garden experiment with a SpineNet backbone to a training config.

    Prints each key that has no counterpart here and may change the result. A classifier needs the folders of its
    images, because TFRecord files are read for detection only: data.train.folder=PATH data.val.folder=PATH.

    Example: spinenet-tf convert-config params.yaml spinenet.yaml epochs=10
    """
    from spinenet_tf.training.from_experiment import convert_experiment

    found = convert_experiment(source, target, overrides or [], overwrite)
    console.print(f"Wrote {target}. Next: spinenet-tf train {target}", soft_wrap=True)
    if found.changes:
        console.print("Without a counterpart, may change the result:", soft_wrap=True)
    for key, value in found.changes.items():
        console.print(f"  {key}: {value!r:.100}", soft_wrap=True, markup=False)
    if found.others:
        count = len(found.others)
        console.print(f"{count} other keys have none; comments in {target} list all of them.", soft_wrap=True)
