"""Write the tables of computed figures into pages, between `<!-- table: NAME -->` and `<!-- end of table -->`.

python docs/write_tables.py README.md docs/paper.md docs/phones.md docs/recipes.md docs/search.md
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from spinenet_tf import configs, list_models
from spinenet_tf.checkpoints.coco_classes import COCO_COUNT
from spinenet_tf.cli.family_costs import summarize
from spinenet_tf.models import detector
from spinenet_tf.nets.costs import count_params, multiply_adds_by_layer, without_values
from spinenet_tf.nets.family import Variant, variant
from spinenet_tf.search.samplers.base import accepts, draw_uniformly
from spinenet_tf.search.space import SearchSpace
from spinenet_tf.search.spaces import SPACES

_BLOCK = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end of table -->)", re.DOTALL)
_LADDER = {"r50_fpn": 37.8, "r23_sp30": 39.6, "r0_sp53": 40.7, "spinenet_49": 40.8}  # AP on val2017, protocol A
# Width multipliers at which Eff-SpineNet with the uniform widths of SpineNet-Mobile has as many multiply-adds.
_UNIFORM = {"eff_spinenet_d0": 1.236, "eff_spinenet_d1": 1.529, "eff_spinenet_d2": 1.614}
_MEASURED = Path(__file__).parents[1] / "benchmarks"
_COST = re.compile(r"# Cost: ([\d,]+ steps of [\d,]+ images)")
_DRAWS = 500  # of each space, to estimate how many it rejects


def write(page: Path) -> None:
    """Rewrite all tables of a page.

    Raises:
        KeyError: the page names a table that is not in `TABLES`.
    """
    text = page.read_text(encoding="utf-8")
    page.write_text(_BLOCK.sub(lambda found: f"{found[1]}{TABLES[found[2]]()}{found[3]}", text), encoding="utf-8")


def models() -> str:
    """Return the table of all models: their costs as counted here, and the published figures."""
    rows = [
        (
            f"`{row['name']}`",
            row["input"],
            f"{row['detector_params']:,}",
            _billions(row["macs"]),
            _published(row["published"]["macs_b"], " B"),
            _published(row["published"]["ap"]),
            row["published"]["note"],
        )
        for row in _costs()
    ]
    head = (
        "name",
        "input",
        "detector parameters",
        "multiply-adds as run",
        "published multiply-adds",
        "published COCO AP",
        "note",
    )
    return _table(head, rows)


def ladder() -> str:
    """Return the table of the paper's steps from ResNet-50-FPN to SpineNet-49."""
    found = {row["name"]: row for row in _costs()}
    rows = [
        (f"`{name}`", f"{found[name]['detector_params']:,}", _billions(found[name]["macs"]), ap)
        for name, ap in _LADDER.items()
    ]
    return _table(("model", "detector parameters", "multiply-adds as run", "published AP"), rows)


def efficient() -> str:
    """Return the table of the scaling of Eff-SpineNet, and of its sizes beside the published ones."""
    found = {row["name"]: row for row in _costs()}
    rows = []
    for name in list_models("efficient"):
        if name.endswith("_lite"):
            continue
        row, costs = variant(name), found[name]
        head, macs, published = row.heads["retinanet"], costs["macs_published_order"], row.published
        scaling = (row.image_size, row.style["width"], head["head_width"], head["head_depth"])
        sizes = (f"{costs['detector_params'] / 1e6:.2f} M", _published(published.params_m, " M"))
        rows.append((f"`{name}`", *scaling, *sizes, f"{macs / 1e9:.3g} B", _published(published.macs_b, " B")))
    scaling_head = ("px", "width", "channels of outputs and head", "convs of the head")
    sizes_head = ("parameters", "published", "multiply-adds", "published")
    return _table(("model", *scaling_head, *sizes_head), rows)


def widths() -> str:
    """Return the table of Eff-SpineNet with learned and with uniform widths, at equal multiply-adds."""
    rows = []
    for name, width in _UNIFORM.items():
        learned = variant(name)
        blocks = tuple(replace(block, width=None) for block in learned.graph.blocks)
        graph = replace(learned.graph, blocks=blocks, round_to=1)  # multiples of 8 would be up to 6 % off
        uniform = replace(learned, graph=graph, style={**learned.style, "width": width})
        rows += [(f"`{name}`", kind, *_distribution(row)) for kind, row in (("learned", learned), ("uniform", uniform))]
    levels = (f"L{level}" for level in range(2, 8))
    return _table(("model", "widths", "multiplier", "parameters", "multiply-adds", *levels, "stem, head"), rows)


def _distribution(row: Variant) -> tuple[Any, ...]:
    """Return multiplier, parameters and multiply-adds of a detector, and their shares: of each level, and the rest."""
    net = without_values(lambda: detector(row, COCO_COUNT, (row.image_size, row.image_size, 3)))
    counts, spent = multiply_adds_by_layer(net), Counter[int]()
    for name, count in counts.items():
        if node := re.match(r"block(\d+)_", name):
            spent[row.graph.blocks[int(node[1]) - len(row.graph.stem)].level] += count
    total = sum(counts.values())
    shares = [spent[level] / total for level in range(2, 8)]
    shares.append(1 - sum(shares))
    sizes = (f"{count_params(net) / 1e6:.2f} M", f"{total / 1e9:.3g} B")
    return (row.style["width"], *sizes, *(f"{share:.1%}" for share in shares))


def recipes() -> str:
    """Return the table of the built-in configs, from the comments at the top of each."""
    paths = sorted(Path(configs.__path__[0]).glob("*.yaml"))
    return _table(("config", "what it trains", "published result", "length"), [_recipe(path) for path in paths])


def image_sizes() -> str:
    """Return the table of the mobile models at several image sizes, from the results of `benchmarks.image_sizes`."""
    rows = [json.loads(line) for line in (_MEASURED / "image_sizes.jsonl").read_text(encoding="utf-8").splitlines()]
    cells: dict[str, dict[str, list[str]]] = {}
    for row in rows:  # the float file of a model and size comes before the int8 file
        size = " x ".join(map(str, dict.fromkeys(row["image_size"])))
        plan = f"{row['partitions']} ({row['outside']} of {row['operations']})"
        cells.setdefault(f"`{row['model']}`", {}).setdefault(size, []).append(plan)
    sizes = next(iter(cells.values()))
    return _table(("model", *sizes), [(name, *map(", ".join, found.values())) for name, found in cells.items()])


def spaces() -> str:
    """Return the table of the search spaces."""
    head = ("space", "levels of the blocks", "offsets", "kinds", "window", "combinations", "rejected")
    rows = [
        (
            f"`{name}`",
            ", ".join(f"{count} x L{level}" for level, count in sorted(Counter(space.intermediates).items())),
            ", ".join(map(str, space.offsets)),
            ", ".join(kind if isinstance(kind, str) else f"{kind[0]} x{kind[1]}" for kind in space.kinds),
            space.window,
            f"{space.size():.1e}".replace("e+", "e"),
            f"{_rejected(space):.0%}",
        )
        for name, space in SPACES.items()
    ]
    return _table(head, rows)


def samplers() -> str:
    """Return the table of the samplers, from the results of `benchmarks.samplers`: means and ranges over the seeds."""
    rows = [json.loads(line) for line in (_MEASURED / "samplers.jsonl").read_text(encoding="utf-8").splitlines()]
    by_sampler: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        options = ", ".join(f"{name} {value}" for name, value in row["options"].items())
        by_sampler.setdefault(f"`{row['sampler']}`" + (f", {options}" if options else ""), []).append(row)
    figures = ("best", "last", "distinct")
    head = ("sampler", "best", "mean of the last 100", "distinct graphs")
    cells = {name: [_range([row[key] for row in found]) for key in figures] for name, found in by_sampler.items()}
    return _table(head, [(name, *row) for name, row in cells.items()])


def _range(figures: Sequence[float]) -> str:
    mean = sum(figures) / len(figures)
    return f"{mean:.3g} ({min(figures):.3g} to {max(figures):.3g})"


def _rejected(space: SearchSpace) -> float:
    """Return the share of uniform draws that a space rejects."""
    random = np.random.default_rng(0)
    return sum(not accepts(space, draw_uniformly(space, random)) for _ in range(_DRAWS)) / _DRAWS


def _recipe(path: Path) -> tuple[str, str, str, str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    published = next((line.removeprefix("# Published: ") for line in lines if line.startswith("# Published: ")), "-")
    cost = _COST.search("\n".join(lines))
    return f"`{path.stem}`", lines[0].removeprefix("# "), published.rstrip("."), cost[1] if cost else "-"


@cache
def _costs() -> list[dict[str, Any]]:
    return summarize()


def _billions(count: int) -> str:
    return f"{count / 1e9:.3f} B" if count < 1e9 else f"{count / 1e9:.1f} B"


def _published(figure: float | None, unit: str = "") -> str:
    return "-" if figure is None else f"{figure:g}{unit}"


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines)


TABLES: dict[str, Callable[[], str]] = {
    "models": models,
    "ladder": ladder,
    "efficient": efficient,
    "widths": widths,
    "recipes": recipes,
    "image_sizes": image_sizes,
    "spaces": spaces,
    "samplers": samplers,
}

if __name__ == "__main__":
    for name in sys.argv[1:]:
        write(Path(name))
