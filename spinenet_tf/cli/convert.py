"""Define `spinenet-tf convert`, which imports and exports TF Model Garden checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from spinenet_tf.cli.arguments import Overwrite
from spinenet_tf.cli.terminal import console


def convert(
    source: Annotated[Path, typer.Argument(help="A TF Model Garden checkpoint (its prefix or folder), or a run.")],
    target: Annotated[Path, typer.Argument(help="A new run folder, a .weights.h5 file, or a checkpoint prefix.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Model options: key=value ...")] = None,
    model: Annotated[str | None, typer.Option(help="The checkpoint's model, such as spinenet_49.")] = None,
    class_names: Annotated[Path | None, typer.Option(help="Text file, one name per line, background first.")] = None,
    image_size: Annotated[tuple[int, int] | None, typer.Option(help="Height and width; default: published.")] = None,
    trained: Annotated[bool, typer.Option("--trained", help="Use the trained weights, not their average.")] = False,
    ignore: Annotated[list[str] | None, typer.Option(help="Skip variables with this prefix; may be repeated.")] = None,
    classifier: Annotated[bool, typer.Option("--classifier", help="Also write a classifier's head.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Convert a TF Model Garden checkpoint to a run or to backbone weights, or a run to a checkpoint.

    The activation and gate functions are detected from the checkpoint's batch norm statistics, unless overridden.

    Example: spinenet-tf convert ckpt-277200 runs/coco --model spinenet_49
    """
    from spinenet_tf.checkpoints.activation import functions_of
    from spinenet_tf.data.files import read_lines
    from spinenet_tf.nets.weights import SUFFIX
    from spinenet_tf.training import from_checkpoint as conversion

    if model is None:
        conversion.convert_run(source, target)
        console.print(f"Wrote {target}.", soft_wrap=True)
        return
    values = conversion.parse_overrides(overrides or [])
    options: dict[str, Any] = {"averaged": not trained, "ignore": ignore or (), "overwrite": overwrite}
    if target.name.endswith(SUFFIX):
        net = conversion.convert_weights(source, target, model, as_classifier=classifier, overrides=values, **options)
    else:
        names = read_lines(class_names) if class_names else None
        sizes: dict[str, Any] = {"image_size": image_size, "class_names": names}
        net = conversion.convert_detector(source, target, model, overrides=values, **sizes, **options)
    functions = ", ".join(f"{key}={value}" for key, value in functions_of(net).items())
    console.print(f"Wrote {target}: {functions}.", soft_wrap=True)
