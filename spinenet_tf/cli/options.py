"""Arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ModelPath = Annotated[Path, typer.Argument(help="The folder of a run, or a .tflite file.")]
Images = Annotated[Path | None, typer.Option(help="The folder of its images.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Also write the numbers to this file.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]


def check_parent(file: Path | None) -> None:
    """Tell, before any work is done, whether there is a folder to write a file into.

    Raises:
        FileNotFoundError: there is none.
    """
    if file and not file.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {file.parent} to write into.")
