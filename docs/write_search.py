"""Write the results of searches into docs/search.md, between `<!-- measured: NAME -->` and its end, and draw them.

python docs/write_search.py benchmarks/search docs/search.md docs/images

`benchmarks/search/NAME` has the JSON lines from the folder of the search NAME.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spinenet_tf.search.comparison import compared
from spinenet_tf.search.correlation import correlated
from spinenet_tf.search.plots import draw_course

BLOCK = re.compile(r"(<!-- measured: ([\w-]+) -->\n).*?(<!-- end of measured -->)", re.DOTALL)
MISSING = "Not run yet: `spinenet-tf search {}`.\n"
RANDOM = 20  # trained graphs at the start, before the evolution has parents
Rows = list[dict[str, Any]]


def write(source: Path, page: Path, images: Path) -> None:
    """Rewrite all blocks of a page, and the drawings that they show."""
    text = page.read_text(encoding="utf-8")
    page.write_text(BLOCK.sub(lambda found: f"{found[1]}{result(source, found[2], images)}{found[3]}", text), "utf-8")


def result(source: Path, name: str, images: Path) -> str:
    """Return what a search found, as Markdown, and draw its course."""
    trials = read(source / name / "trials.jsonl")
    trained = [row for row in trials if row["outcome"] == "trained"]
    if not trained:
        return MISSING.format(name)
    values = [row["values"][0] for row in trained]
    (images / f"search-{name}.svg").write_bytes(draw_course(values, "AP of the proxy"))
    best = max(trained, key=lambda row: row["values"][0])
    parts = [
        outcomes(trials),
        distribution(values),
        f"The best graph is that of {best['unit']}: AP {best['AP']:.3f}, "
        f"{best['proxy']['multiply_adds'] / 1e6:,.1f} M multiply-adds{_costs(best)}.\n",
        f"![Value of each graph, and the best so far](images/search-{name}.svg)\n",
        *comparison(read(source / name / "comparison.jsonl")),
        *correlation(read(source / name / "correlation.jsonl")),
    ]
    return "\n".join(parts)


def read(path: Path) -> Rows:
    """Return the rows of a file, none if it is missing."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.is_file() else []


def outcomes(trials: Rows) -> str:
    """Return how the trials ended, and how long they took."""
    counts = Counter(row["outcome"] for row in trials)
    seconds = [row["seconds"] for row in trials if "seconds" in row]
    told = ", ".join(f"{count} {name}" for name, count in counts.most_common())
    return f"{len(trials)} trials: {told}. A training took {statistics.median(seconds):.0f} s (median).\n"


def distribution(values: Sequence[float]) -> str:
    """Return the spread of the random graphs at the start, beside that of the graphs after them."""
    groups = {f"first {min(RANDOM, len(values))}, random": values[:RANDOM], "those after them": values[RANDOM:]}
    rows = [
        (name, len(group), *(f"{number:.3f}" for number in (min(group), statistics.median(group), max(group))))
        for name, group in groups.items()
        if group
    ]
    return table(("graphs", "trained", "lowest AP", "median AP", "highest AP"), rows)


def comparison(rows: Rows) -> list[str]:
    """Return the AP of the best graph and of the named graph with several seeds, if they were compared."""
    lines = [
        (
            f"`{group.graph}`",
            f"{group.multiply_adds / 1e6:,.1f}",
            len(group.aps),
            *(f"{number:.3f}" for number in (group.mean, min(group.aps), max(group.aps))),
        )
        for group in compared(rows)
    ]
    head = ("graph", "M multiply-adds", "seeds", "mean AP", "lowest", "highest")
    return [table(head, lines)] if lines else []


def correlation(rows: Rows) -> list[str]:
    """Return the rank correlation with a longer training, if it was measured."""
    if not rows:
        return []
    found = correlated(rows)
    return [
        f"{found.graphs} graphs, trained {found.times} times as long: rank correlation Kendall {found.kendall:.2f} "
        f"(p {found.kendall_p:.2g}), Spearman {found.spearman:.2f} (p {found.spearman_p:.2g}).\n"
    ]


def _costs(row: dict[str, Any]) -> str:
    return "".join(
        f", {kind} {cost['value'] / cost['target']:.2f} of the limit" for kind, cost in row.get("costs", {}).items()
    )


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines)


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
