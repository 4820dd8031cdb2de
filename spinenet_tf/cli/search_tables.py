"""Build the tables of the commands `search` and `search-compare`."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from spinenet_tf.search.comparison import Group
from spinenet_tf.search.results import best_of
from spinenet_tf.search.searching import SearchResult


def search_table(found: SearchResult) -> Table:
    """Build a table of the best graphs of a search."""
    table = _table("The best graphs", ("graph", "trial", "value", "AP", "M multiply-adds", "k parameters"))
    for path, trial in zip(found.graphs, best_of(found.study, len(found.graphs)), strict=True):
        costs = trial.user_attrs["proxy"]
        table.add_row(
            str(path),
            str(trial.number),
            ", ".join(f"{value:.4f}" for value in trial.values),
            f"{trial.user_attrs['AP']:.4f}",
            f"{costs['multiply_adds'] / 1e6:,.1f}",
            f"{costs['parameters'] / 1e3:,.0f}",
        )
    table.caption = "AP and costs are those of the proxy: a small net after a short training."
    return table


def comparison_table(groups: Sequence[Group]) -> Table:
    """Build a table of the result of `search.comparison.compare`."""
    table = _table("One training per seed", ("graph", "M multiply-adds", "trainings", "mean AP", "lowest", "highest"))
    for group in groups:
        aps = [f"{ap:.4f}" for ap in (group.mean, min(group.aps), max(group.aps))]
        table.add_row(group.graph, f"{group.multiply_adds / 1e6:,.1f}", str(len(group.aps)), *aps)
    return table


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title)
    for column in columns:
        table.add_column(column, justify="left" if column == "graph" else "right", overflow="fold")
    return table
