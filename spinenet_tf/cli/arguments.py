"""Define arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

MODELS = "The folder of a run or a SavedModel, or a .tflite, .onnx or .xml file."
ModelPath = Annotated[Path, typer.Argument(help=MODELS)]
Images = Annotated[Path | None, typer.Option(help="The folder of the images.")]
Classes = Annotated[str | None, typer.Option(help="Comma-separated class names; default: all.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Also write the numbers to this file.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")]


def split_classes(text: str | None) -> list[str] | None:
    """Split a comma-separated list of names, and strip each name.

    Raises:
        ValueError: a name is empty.
    """
    names = None if text is None else [name.strip() for name in text.split(",")]
    if names is not None and not all(names):
        raise ValueError(f"--classes must be comma-separated names. Received: --classes {text!r}")
    return names


def check_parent(file: Path | None) -> None:
    """Check, before any work starts, that the parent folder of an output file exists.

    Raises:
        FileNotFoundError: it does not exist.
    """
    if file and not file.parent.is_dir():
        raise FileNotFoundError(f"The output folder {file.parent} does not exist.")
