"""Print to the terminal and show progress, for all commands."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    track,
)
from rich.table import Table
from rich.text import Text

console = Console()
Item = TypeVar("Item")


def show_whole(table: Table) -> None:
    """Print a table at full width, also into a pipe, where `rich` would truncate it."""
    Console(width=max(console.width, 130)).print(table)


def with_progress(items: Iterable[Item], total: int, title: str) -> Iterable[Item]:
    """Yield the `total` items and show a progress bar."""
    return track(items, title, total, console=console)


class _SpeedColumn(ProgressColumn):
    """The number of items per second."""

    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:.1f}/s")


def with_speed(items: Iterable[Item], total: int, title: str) -> Iterable[Item]:
    """Yield the items, of which `total` are expected, and show a progress bar with their number per second."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _SpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        yield from progress.track(items, total, description=title)


def with_passing_progress(items: Iterable[Item], total: int, title: str) -> Iterable[Item]:
    """Show a progress bar on standard error, and remove it at the end, so that standard output stays parsable."""
    return track(items, title, total, console=Console(stderr=True), transient=True)


class WorkProgress:
    """Show the progress of several long parts as one bar with the time left, and print a line after each part.

    Work is in any unit to which time is proportional.
    """

    def __init__(self, total: float):
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        # The speed is that of the last 10 minutes: parts differ.
        self._progress = Progress(*columns, console=console, speed_estimate_period=600)
        self._task = self._progress.add_task("", total=total)
        self._done = 0.0  # at the end of the current part

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def begin(self, title: str, work: float) -> None:
        """Begin a part."""
        self._progress.update(self._task, description=title)
        self._done += work

    def advance(self, work: float) -> None:
        """Count some work of the current part."""
        self._progress.advance(self._task, work)

    def end(self, line: str) -> None:
        """End the current part, some of which may have been done earlier, and print a line."""
        self._progress.update(self._task, completed=self._done)
        self._progress.console.print(line, highlight=False)
