"""Write docs/settings.md, the options of a model, from the fields of the dataclasses and their comments.

python docs/write_settings.py docs/settings.md
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from spinenet_tf.data.augmentation import Augment
from spinenet_tf.heads.table import HEADS
from spinenet_tf.nets.options import Options, valid_values
from spinenet_tf.nets.style import Style

PAGE = """# Options of a model and of augmentation

In Python the options of a model are arguments: `spinenet_tf.detector("spinenet_49", 3, activation="swish",
head_depth=3)`. In a config, options of the backbone are set in `model.overrides`, and options of the head in
`model.head`. Options of augmentation are fields of `spinenet_tf.data.Augment`, and of `data` in a config:

    model: {name: spinenet_49, image_size: [640, 640], head: {kind: retinanet, head_depth: 3}, overrides: {l2: 0.0001}}
    data: {train: ..., val: ..., flip: false, scale: [0.5, 2.0]}

For a model with a name, the published values replace these defaults.
Written by `python docs/write_settings.py docs/settings.md`.
"""
TABLE = """
## {title}

| name | default | valid values | meaning |
|---|---|---|---|
"""
_FIELD = re.compile(r"    (\w+): .* = option\(.*\)(?:  # (.*))?")


def write(target: Path) -> None:
    """Write the page."""
    parts = {"The backbone": Style}
    parts |= {f"The head `{row.name}`": row.options for row in HEADS.values() if row.options.names()}
    parts |= {"Augmentation": Augment}
    target.write_text(PAGE + "".join(TABLE.format(title=title) + table(part) for title, part in parts.items()), "utf-8")


def table(part: type[Options]) -> str:
    """Return the rows of a table of options."""
    said = {name: text for one in reversed(part.__mro__) for name, text in comments(one)}
    rows = ((one.name, _plain(one.default), valid_values(one), said[one.name]) for one in fields(part))
    return "".join(f"| `{name}` | {default} | {valid} | {text} |\n" for name, default, valid, text in rows)


def comments(part: type) -> Iterator[tuple[str, str]]:
    """Yield the options that a class itself defines, each with the comments above and after it."""
    above: list[str] = []
    for line in inspect.getsource(part).splitlines() if issubclass(part, Options) else ():
        if found := _FIELD.fullmatch(line):
            yield found[1], " ".join([*above, found[2] or ""]).strip()
        above = [*above, line.strip("# ")] if line.startswith("    # ") else []


def _plain(default: object) -> str:
    """Return a default value as written in YAML."""
    return "-" if default is None else json.dumps(default).strip('"')


if __name__ == "__main__":
    write(Path(sys.argv[1]))
