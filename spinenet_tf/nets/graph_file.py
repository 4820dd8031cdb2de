"""Read and write a graph as a YAML file for people, with one line per block and its number in a comment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from spinenet_tf._files.document import DocumentError, Scalar, plain, read_yaml
from spinenet_tf._files.writing import write_whole

_TITLE = "# A graph of spinenet_tf. Comments number the blocks; the nodes of the stem come first, from 0."


def read_values(path: str | os.PathLike) -> Any:
    """Return the values in a file, unchecked. The name is text, even where YAML reads a number.

    Raises:
        FileNotFoundError: the file does not exist.
        DocumentError: the file is not YAML, or too large for a graph.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"Graph file not found: {path}.")
    try:
        values = read_yaml(path)
    except DocumentError as error:
        raise DocumentError(f"{path} is not YAML: {error}") from error
    if isinstance(values, dict) and isinstance(values.get("name"), Scalar):
        values["name"] = values["name"].text
    return plain(values)


def write_values(path: str | os.PathLike, values: Mapping[str, Any], *, overwrite: bool) -> None:
    """Write the values of a spec atomically. Raises the errors of `write_whole`."""
    blocks = [
        f"  - {_flow(block)}  # {node}\n" for node, block in enumerate(values["blocks"], start=len(values["stem"]))
    ]
    lines = [f"{name}: {_flow(value)}\n" for name, value in values.items() if name != "blocks"]
    lines += ["blocks:\n", *blocks] if blocks else ["blocks: []\n"]
    write_whole(path, "".join([f"{_TITLE}\n", *lines]), overwrite=overwrite)


def _flow(value: Any) -> str:
    """Return a value as YAML on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=float("inf"))
    return text.removesuffix("\n").removesuffix("\n...")
