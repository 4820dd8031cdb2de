"""A graph as a YAML file that people read and write: one line a block, with its number behind it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from spinenet_tf._files.document import DocumentError, Scalar, plain, read_yaml
from spinenet_tf._files.writing import write_whole

_TITLE = "# A graph of spinenet_tf. Blocks are numbered behind them; the nodes of the stem have the numbers before."


def read_values(path: str | os.PathLike) -> Any:
    """Return what a file says, unchecked, but for a name, which is text whatever YAML makes of it.

    Raises:
        FileNotFoundError: there is no such file.
        DocumentError: it is not YAML, or more than a graph needs.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no graph {path}.")
    try:
        values = read_yaml(path)
    except DocumentError as error:
        raise DocumentError(f"{path} is not YAML: {error}") from error
    if isinstance(values, dict) and isinstance(values.get("name"), Scalar):
        values["name"] = values["name"].text
    return plain(values)


def write_values(path: str | os.PathLike, values: Mapping[str, Any], *, overwrite: bool) -> None:
    """Write what a spec says; the file appears whole or not at all. Raises as `write_whole` does."""
    blocks = [
        f"  - {_flow(block)}  # {node}\n" for node, block in enumerate(values["blocks"], start=len(values["stem"]))
    ]
    lines = [f"{name}: {_flow(value)}\n" for name, value in values.items() if name != "blocks"]
    lines += ["blocks:\n", *blocks] if blocks else ["blocks: []\n"]
    write_whole(path, "".join([f"{_TITLE}\n", *lines]), overwrite=overwrite)


def _flow(value: Any) -> str:
    """Return a value on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=float("inf"))
    return text.removesuffix("\n").removesuffix("\n...")
