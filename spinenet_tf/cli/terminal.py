"""The terminal that all commands write to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from rich.console import Console
from rich.progress import track
from rich.table import Table

console = Console()
Item = TypeVar("Item")


def show_whole(table: Table) -> None:
    """Print a table wider than a piped terminal claims to be: a cut table is of no use."""
    Console(width=max(console.width, 130)).print(table)


def with_progress(items: Iterable[Item], total: int, title: str) -> Iterable[Item]:
    """Yield the items, of which there are `total`, and show how far they are."""
    return track(items, title, total, console=console)


def with_passing_progress(items: Iterable[Item], total: int, title: str) -> Iterable[Item]:
    """Do as `with_progress`, on the standard error and only until the end: the output may be for a program."""
    return track(items, title, total, console=Console(stderr=True), transient=True)
