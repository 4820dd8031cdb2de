"""Arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ModelPath = Annotated[Path, typer.Argument(help="The folder of a run, or a .tflite file.")]
Images = Annotated[Path | None, typer.Option(help="The folder of its images.")]
Classes = Annotated[str | None, typer.Option(help="The names of the classes, with commas between; default: all.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Also write the numbers to this file.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]


def split_classes(text: str | None) -> list[str] | None:
    """Return the names between the commas, without blanks around them.

    Raises:
        ValueError: one of them is empty.
    """
    names = None if text is None else [name.strip() for name in text.split(",")]
    if names is not None and not all(names):
        raise ValueError(f"Classes are names with commas between. Received: --classes {text!r}")
    return names


def check_parent(file: Path | None) -> None:
    """Tell, before any work is done, whether there is a folder to write a file into.

    Raises:
        FileNotFoundError: there is none.
    """
    if file and not file.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {file.parent} to write into.")
