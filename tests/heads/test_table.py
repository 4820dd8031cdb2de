"""The table of heads: a head is one file and one row, and no other file names it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from spinenet_tf.heads.detector import DetectionOptions
from spinenet_tf.heads.table import HEADS, find_head, head_of
from spinenet_tf.nets.family import VARIANTS, variant
from spinenet_tf.nets.style import Style

ROOT = Path(__file__).parents[2]
# What may know a head by its class or its name, and why.
ALLOWED = {
    "spinenet_tf/heads/": "here they are",
    "spinenet_tf/nets/family.py": "the mapping from a net to the heads that it was published with",
    "spinenet_tf/checkpoints/": "the weights of other projects are of one head, whose variables they name",
    "spinenet_tf/__init__.py": "the public function `classifier`, by its name",
}


def mentions(path: Path) -> Iterator[str]:
    """Yield the lines that mention a head's class or name, also in text; except "classifier", which is also a word."""
    classes = {row.build.__name__ for row in HEADS.values()}
    source = path.read_text(encoding="utf-8")
    names = "|".join({*HEADS, *map(str.lower, classes)} - {"classifier"})
    found = {n for n, line in enumerate(source.splitlines(), 1) if re.search(rf"\b({names})", line, re.IGNORECASE)}
    for node in ast.walk(ast.parse(source)) if path.suffix == ".py" else ():
        named = getattr(node, "id", None) or getattr(node, "attr", None) or getattr(node, "value", None)
        imported = {alias.name for alias in node.names} if isinstance(node, ast.ImportFrom) else set()
        if (isinstance(named, str) and named in classes | set(HEADS) - {"classifier"}) or imported & classes:
            found.add(node.lineno)
        if isinstance(node, ast.Constant) and node.value == "classifier":
            found.add(node.lineno)
    yield from (f"{path.relative_to(ROOT)}:{number}" for number in sorted(found))


def test_nothing_but_its_file_and_its_row_knows_a_head() -> None:
    sources = [path for room in ("spinenet_tf", "export") for path in sorted((ROOT / room).rglob("*.*"))]
    found = [line for path in sources if path.suffix in (".py", ".js", ".html") for line in mentions(path)]
    assert any(line.startswith("spinenet_tf/heads/table.py") for line in found)  # the search finds what there is
    assert [line for line in found if not line.startswith(tuple(ALLOWED))] == []
    assert [place for place in ALLOWED if not any(line.startswith(place) for line in found)] == []


@pytest.mark.parametrize("row", HEADS.values(), ids=HEADS)
def test_a_row_is_whole(row) -> None:
    assert HEADS[row.name] is row
    assert row.name == row.build.head
    assert not {*row.options.names()} & {*Style.names()}  # both are arguments of the factory
    row.options.of(dict(row.smallest))
    assert ("raw" in row.outputs) != row.selects
    assert row.layouts
    assert row.class_layers
    assert (row.decoding is not None) == (row.task != "classification") == issubclass(row.options, DetectionOptions)


def test_published_options_are_options_of_the_backbone_and_the_head() -> None:
    for row in VARIANTS.values():
        assert Style.of(row.style).plain().items() >= row.style.items()
        for name, options in row.heads.items():
            assert find_head(name).options.of(options).plain().items() >= options.items()


def test_the_first_published_head_of_a_task_is_the_default() -> None:
    first = {task: next(row for row in HEADS.values() if row.task == task) for task in ("detection", "classification")}
    row = variant("spinenet_49")
    for heads in ({}, {"other": {}, "classifier": {}}):
        assert head_of(replace(row, heads=heads), "detection") is first["detection"]
    assert head_of(replace(row, heads={"centernet": {}, "retinanet": {}}), "detection") is HEADS["centernet"]
    assert head_of("spinenet_49", "classification") is first["classification"]
    with pytest.raises(ValueError, match=r"Unknown head 'classifier'. .*Valid: retinanet"):
        find_head("classifier", "detection")
