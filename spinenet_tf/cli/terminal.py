"""Print to the terminal and show progress, for all commands."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from rich.console import Console
from rich.progress import track
from rich.table import Table

console = Console()
Item = TypeVar("Item")


def show_whole(table: Table) -> None:
    """Print a table at full width, also into a pipe, where `rich` would truncate it."""
    Console(width=max(console.width, 130)).print(table)


def with_progress(items: Iterable[Item], total: int, title: str) -> Iterable[Item]:
    """Yield the `total` items and show a progress bar."""
    return track(items, title, total, console=console)


def with_passing_progress(items: Iterable[Item], total: int, title: str) -> Iterable[Item]:
    """Show a progress bar on standard error, and remove it at the end, so that standard output stays parsable."""
    return track(items, title, total, console=Console(stderr=True), transient=True)
